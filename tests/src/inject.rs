//! Makes a running process of ours make a system call, by ptrace(2): what it is refused then, it is refused whoever has taken it over.
//!
//! Nothing in the programs helps with that, so there is nothing that could be used against them. For x86-64.

use std::io;
use std::ptr::null_mut;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::libc::{self, c_void, user_regs_struct};

/// The instruction `syscall`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// The instruction `jmp` to itself.
const JUMP_TO_ITSELF: [u8; 2] = [0xeb, 0xfe];
/// Below the stack pointer, and below what a function may use there without saying so.
const BELOW_STACK: u64 = 4096;

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The result: an error if it is negative.
    Returned(i64),
    /// The process ended by this signal.
    Ended(i32),
}

/// What becomes of a process that is let go.
enum Fate {
    /// It goes on where it was.
    GoesOn,
    /// A copy that was made for a try.
    Dies,
    /// It has ended.
    IsGone,
}

/// A thread that is held; it goes on where it was when this is dropped, and is killed when the tracer ends.
pub struct Held {
    pid: i32,
    regs: user_regs_struct,
    fate: Fate,
}

impl Held {
    /// Holds the main thread of process `pid` in a system call. Fails after a second without one.
    pub fn new(pid: u32) -> Result<Held> {
        let pid = pid.cast_signed();
        let options = libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
        request(libc::PTRACE_SEIZE, pid, null_mut(), options as *mut c_void).context("cannot trace it")?;
        for _ in 0..100 {
            request(libc::PTRACE_INTERRUPT, pid, null_mut(), null_mut()).context("cannot interrupt it")?;
            let status = wait(pid)?;
            ensure!(libc::WIFSTOPPED(status), "process {pid} ended: status {status:x}");
            let regs = registers(pid)?;
            if at_syscall(pid, &regs)? {
                return Ok(Held { pid, regs, fate: Fate::GoesOn });
            }
            request(libc::PTRACE_CONT, pid, null_mut(), null_mut())?;
            sleep(Duration::from_millis(10));
        }
        bail!("process {pid} never waits")
    }

    /// Makes it call; pointers are to its own memory, see [`Held::place`].
    pub fn call(&mut self, number: i64, arguments: [u64; 6]) -> Result<Outcome> {
        self.run(number, arguments).map(|(outcome, _)| outcome)
    }

    /// Puts `bytes`, and zeros after them, where the process has nothing; returns the address.
    pub fn place(&self, bytes: &[u8]) -> Result<u64> {
        let address = (self.regs.rsp - BELOW_STACK) & !15;
        for (place, word) in (address..).step_by(8).zip(bytes.chunks(8).chain([&[][..]])) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            let word = u64::from_ne_bytes(padded);
            request(libc::PTRACE_POKEDATA, self.pid, place as *mut c_void, word as *mut c_void)
                .context("cannot write to its stack")?;
        }
        Ok(address)
    }

    /// Lets it go, into circles: behind the system call it jumps to where it is.
    pub fn spin(self) -> Result<()> {
        let place = self.regs.rip as *mut c_void;
        let word =
            request(libc::PTRACE_PEEKTEXT, self.pid, place, null_mut()).context("cannot read its program")?;
        let mut bytes = word.to_ne_bytes();
        bytes[..JUMP_TO_ITSELF.len()].copy_from_slice(&JUMP_TO_ITSELF);
        let word = u64::from_ne_bytes(bytes);
        request(libc::PTRACE_POKETEXT, self.pid, place, word as *mut c_void)
            .context("cannot write its program")?;
        Ok(())
    }

    /// A copy of the process, by fork, to try what ends it.
    pub fn copy(&mut self) -> Result<Held> {
        let (outcome, child) = self.run(libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0])?;
        let pid = child.with_context(|| format!("no copy: {outcome:?}"))?;
        wait(pid)?;
        let regs = registers(pid)?;
        ensure!(at_syscall(pid, &regs)?, "the copy is somewhere else");
        Ok(Held { pid, regs, fate: Fate::Dies })
    }

    fn run(&mut self, number: i64, arguments: [u64; 6]) -> Result<(Outcome, Option<i32>)> {
        let mut regs = self.regs;
        regs.rip -= SYSCALL.len() as u64;
        regs.rax = number.cast_unsigned();
        // Not a call that was interrupted: nothing is started again.
        regs.orig_rax = u64::MAX;
        [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = arguments;
        set_registers(self.pid, &regs)?;
        let mut child = None;
        loop {
            request(libc::PTRACE_SINGLESTEP, self.pid, null_mut(), null_mut()).context("cannot step")?;
            let status = wait(self.pid)?;
            if libc::WIFSIGNALED(status) {
                self.fate = Fate::IsGone;
                return Ok((Outcome::Ended(libc::WTERMSIG(status)), child));
            }
            ensure!(libc::WIFSTOPPED(status), "process {} exited: status {status:x}", self.pid);
            match status >> 8 {
                event if event >> 8 == libc::PTRACE_EVENT_FORK => {
                    let mut new = 0_u64;
                    let place = (&raw mut new).cast();
                    request(libc::PTRACE_GETEVENTMSG, self.pid, null_mut(), place)?;
                    child = Some(i32::try_from(new)?);
                }
                libc::SIGTRAP => {
                    let after = registers(self.pid)?;
                    ensure!(after.rip == self.regs.rip, "it did something else");
                    return Ok((Outcome::Returned(after.rax.cast_signed()), child));
                }
                // A signal of its own life, such as a child's end: it would be handled in the middle of ours. It is lost.
                _ => {}
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        match self.fate {
            Fate::GoesOn => {
                let _ = set_registers(self.pid, &self.regs);
                let _ = request(libc::PTRACE_DETACH, self.pid, null_mut(), null_mut());
            }
            Fate::Dies => {
                // SAFETY: passes numbers only.
                unsafe { libc::kill(self.pid, libc::SIGKILL) };
                let _ = wait(self.pid);
            }
            Fate::IsGone => {}
        }
    }
}

fn at_syscall(pid: i32, regs: &user_regs_struct) -> Result<bool> {
    let place = (regs.rip - SYSCALL.len() as u64) as *mut c_void;
    // The C library's face: the word is the result, and -1 may be one.
    let word = request(libc::PTRACE_PEEKTEXT, pid, place, null_mut()).context("cannot read its program")?;
    Ok(word.to_ne_bytes()[..2] == SYSCALL)
}

fn registers(pid: i32) -> Result<user_regs_struct> {
    // SAFETY: a C struct of numbers; all bits zero is a value.
    let mut regs: user_regs_struct = unsafe { std::mem::zeroed() };
    request(libc::PTRACE_GETREGS, pid, null_mut(), (&raw mut regs).cast())
        .context("cannot read registers")?;
    Ok(regs)
}

fn set_registers(pid: i32, regs: &user_regs_struct) -> Result<()> {
    request(libc::PTRACE_SETREGS, pid, null_mut(), (&raw const *regs).cast_mut().cast())
        .context("cannot write registers")?;
    Ok(())
}

fn wait(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: writes one live integer.
    match unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(status),
    }
}

fn request(request: u32, pid: i32, address: *mut c_void, data: *mut c_void) -> io::Result<i64> {
    nix::errno::Errno::clear();
    // SAFETY: the kernel checks the process's id and addresses of the other process. Of this one's memory only GETREGS, SETREGS and GETEVENTMSG
    // use any, and their callers give live values of the size that they want.
    let result = unsafe { libc::ptrace(request, pid, address, data) };
    match io::Error::last_os_error() {
        error if result == -1 && error.raw_os_error() != Some(0) => Err(error),
        _ => Ok(result),
    }
}
