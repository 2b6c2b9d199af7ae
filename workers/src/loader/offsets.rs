//! Where a task's ids and name are, on kernels that do not tell (no BTF).
//!
//! A program copies the first 12 KiB of one of our own threads' `task_struct`; its thread id, process id and name are known, so they can be
//! found in the copy.

use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::programs::Program;

use super::attach::explain;
use super::kprobe::{Kprobe, Place};
use crate::bpf::MapHandle;
use crate::rows::control;

/// Bytes of the copy; `struct task_sample` of common/task_legacy.h without its first word.
const SAMPLE: usize = 3 * 4096;

/// Names of the threads that are looked at: 15 bytes, found nowhere else. Several, because a task's saved registers may hold what a thread
/// has just copied, its own name among it; that is not in the same place three times.
const NAMES: [&str; 3] = ["offset-finder-a", "offset-finder-b", "offset-finder-c"];

/// How often a thread makes the call, and how long it waits before the next: the kernel skips a program while a task that it has preempted
/// inside one waits.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// System calls whose functions a probe may sit on while we make one.
const FUNCTIONS: &[&str] = &["__x64_sys_getppid", "sys_getppid", "SyS_getppid"];

/// Finds the places on the running kernel and writes them where the programs look.
pub fn find_and_store(ebpf: &mut Ebpf, words: &MapHandle) -> Result<()> {
    let sample = super::handle(ebpf, "sample", 4, 8 + SAMPLE)?;
    let kprobe = attach(ebpf)?;
    let copies: Result<Vec<Copy>> = NAMES.iter().map(|name| copy_of_a_thread(&sample, name)).collect();
    drop(kprobe);
    detach(ebpf)?;
    let places = find(&copies?, std::process::id())
        .context("the copies of a task do not hold its ids and name where they could be told apart")?;
    words.update(&control::TASK_IDS_OFFSET.to_ne_bytes(), &(places.ids as u64).to_ne_bytes())?;
    words.update(&control::TASK_COMM_OFFSET.to_ne_bytes(), &(places.comm as u64).to_ne_bytes())?;
    Ok(())
}

/// Attaches the program that copies; what is returned keeps a kprobe attached.
fn attach(ebpf: &mut Ebpf) -> Result<Option<Kprobe>> {
    if let Some(Program::RawTracePoint(program)) = ebpf.program_mut("raw_tp_sample_task")
        && program.load().is_ok()
        && program.attach("sys_enter").is_ok()
    {
        return Ok(None);
    }
    let Some(Program::KProbe(program)) = ebpf.program_mut("kprobe_sample_task") else {
        bail!("the object has no program `kprobe_sample_task`");
    };
    program
        .load()
        .map_err(explain)
        .context("a program that reads kernel memory (lockdown=confidentiality forbids it)")?;
    let program = program.fd().context("the program is loaded")?.as_fd();
    for function in FUNCTIONS {
        if let Ok(kprobe) = Kprobe::attach(program, function, Place::Entry) {
            return Ok(Some(kprobe));
        }
    }
    bail!("neither the raw tracepoint sys_enter nor a kprobe on {} can be attached", FUNCTIONS.join(", "))
}

fn detach(ebpf: &mut Ebpf) -> Result<()> {
    if let Some(Program::RawTracePoint(program)) = ebpf.program_mut("raw_tp_sample_task")
        && program.fd().is_ok()
    {
        program.unload()?;
    }
    if let Some(Program::KProbe(program)) = ebpf.program_mut("kprobe_sample_task")
        && program.fd().is_ok()
    {
        program.unload()?;
    }
    Ok(())
}

/// The first bytes of one thread's task.
#[derive(Debug)]
struct Copy {
    bytes: Vec<u8>,
    tid: u32,
    name: &'static str,
}

/// Lets a thread called `name` make a system call, and returns the copy of its task.
fn copy_of_a_thread(sample: &MapHandle, name: &'static str) -> Result<Copy> {
    let finder = thread::Builder::new().name(name.to_owned());
    thread::scope(|scope| {
        let handle = finder.spawn_scoped(scope, || -> Result<Copy> {
            let tid = nix::unistd::gettid().as_raw().cast_unsigned();
            let wanted = u64::from(std::process::id()) << 32 | u64::from(tid);
            let mut value = vec![0; 8 + SAMPLE];
            value[..8].copy_from_slice(&wanted.to_ne_bytes());
            let zero = 0_u32.to_ne_bytes();
            sample.update(&zero, &value)?;
            let mut copy = vec![0; 8 + SAMPLE];
            for _ in 0..ATTEMPTS {
                nix::unistd::getppid();
                sample.lookup(&zero, &mut copy)?;
                if copy[..8] == [0; 8] {
                    return Ok(Copy { bytes: copy.split_off(8), tid, name });
                }
                thread::sleep(PAUSE);
            }
            bail!("the program that copies a task did not run");
        })?;
        handle.join().map_err(|_| anyhow::anyhow!("the thread that is looked at died"))?
    })
}

/// Offsets in `task_struct`.
#[derive(Debug, PartialEq, Eq)]
struct Places {
    /// Of `pid`, which `tgid` follows.
    ids: usize,
    /// Of `comm`.
    comm: usize,
}

/// Looks for the two ids side by side, and for the name, in the same place of every copy; `None` when either is nowhere.
///
/// If there are several such places it is the first: the saved registers are the last field of a task.
fn find(copies: &[Copy], tgid: u32) -> Option<Places> {
    let ids = |copy: &Copy| [copy.tid.to_ne_bytes(), tgid.to_ne_bytes()].concat();
    let name = |copy: &Copy| [copy.name.as_bytes(), b"\0"].concat();
    Some(Places { ids: first_in_all(copies, 4, ids)?, comm: first_in_all(copies, 1, name)? })
}

fn first_in_all(copies: &[Copy], step: usize, wanted: impl Fn(&Copy) -> Vec<u8>) -> Option<usize> {
    let length = copies.iter().map(|copy| copy.bytes.len()).min()?;
    (0..length)
        .step_by(step)
        .find(|&at| copies.iter().all(|copy| copy.bytes[at..].starts_with(&wanted(copy))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(tid: u32, name: &'static str, comm_at: usize) -> Copy {
        let mut bytes = vec![0_u8; 4096];
        bytes[1000..1004].copy_from_slice(&tid.to_ne_bytes());
        bytes[1004..1008].copy_from_slice(&4242_u32.to_ne_bytes());
        bytes[comm_at..comm_at + name.len()].copy_from_slice(name.as_bytes());
        Copy { bytes, tid, name }
    }

    #[test]
    fn ids_and_name_are_where_every_copy_has_them() {
        let mut copies = [copy(4243, "abc", 2001), copy(4244, "abd", 2001)];
        // A stray copy of the name, in one thread's saved registers.
        copies[0].bytes[100..103].copy_from_slice(b"abc");
        assert_eq!(find(&copies, 4242), Some(Places { ids: 1000, comm: 2001 }));
    }

    #[test]
    fn what_is_not_in_the_same_place_is_not_found() {
        assert_eq!(find(&[copy(4243, "abc", 2001), copy(4244, "abd", 2002)], 4242), None);
        assert_eq!(find(&[copy(4243, "abc", 2001)], 4241), None);
        assert_eq!(find(&[], 4242), None);
    }
}
