//! Where a task's ids and name are, on kernels that do not tell (no BTF).
//!
//! A program copies the first 12 KiB of one of our own threads' `task_struct`; its thread id, process id and name are known, so they can be
//! found in the copy.

use std::os::fd::AsFd;
use std::thread;

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::programs::Program;

use super::kprobe::{Kprobe, Place};
use crate::bpf::MapHandle;
use crate::rows::control;

/// Bytes of the copy; `struct task_sample` of common/task_legacy.h without its first word.
const SAMPLE: usize = 3 * 4096;

/// Name of the thread that is looked at; 15 bytes, found nowhere else.
const NAME: &str = "offset-finder-x";

/// System calls whose functions a probe may sit on while we make one.
const FUNCTIONS: &[&str] = &["__x64_sys_getppid", "sys_getppid", "SyS_getppid"];

/// Finds the places on the running kernel and writes them where the programs look.
pub fn find_and_store(ebpf: &mut Ebpf, words: &MapHandle) -> Result<()> {
    let sample = super::handle(ebpf, "sample", 4, 8 + SAMPLE)?;
    let kprobe = attach(ebpf)?;
    let (copy, tid) = copy_of_a_thread(&sample)?;
    drop(kprobe);
    detach(ebpf)?;
    let places = find(&copy, tid, std::process::id(), NAME.as_bytes())
        .context("the copy of a task does not hold its ids and name where they could be told apart")?;
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
    program.load()?;
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

/// Lets a thread with a name of its own make a system call, and returns the copy of its task and its thread id.
fn copy_of_a_thread(sample: &MapHandle) -> Result<(Vec<u8>, u32)> {
    let mut value = vec![0; 8 + SAMPLE];
    value[..8].copy_from_slice(&u64::from(std::process::id()).to_ne_bytes());
    let finder = thread::Builder::new().name(NAME.to_owned());
    thread::scope(|scope| {
        let handle = finder.spawn_scoped(scope, || -> Result<(Vec<u8>, u32)> {
            let zero = 0_u32.to_ne_bytes();
            sample.update(&zero, &value)?;
            let tid = nix::unistd::gettid().as_raw().cast_unsigned();
            nix::unistd::getppid();
            let mut copy = vec![0; 8 + SAMPLE];
            sample.lookup(&zero, &mut copy)?;
            if copy[..8] != [0; 8] {
                bail!("the program that copies a task did not run");
            }
            Ok((copy.split_off(8), tid))
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

/// Looks for the two ids side by side, and for the name; `None` when either is missing or there are several.
fn find(copy: &[u8], tid: u32, tgid: u32, name: &[u8]) -> Option<Places> {
    let mut ids = [tid.to_ne_bytes(), tgid.to_ne_bytes()].concat();
    let ids = only(copy, 4, &std::mem::take(&mut ids))?;
    let mut text = name.to_vec();
    text.push(0);
    Some(Places { ids, comm: only(copy, 1, &text)? })
}

fn only(copy: &[u8], step: usize, wanted: &[u8]) -> Option<usize> {
    let mut places = (0..copy.len().saturating_sub(wanted.len()))
        .step_by(step)
        .filter(|&at| copy[at..].starts_with(wanted));
    let first = places.next()?;
    places.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_name_are_found_once_or_not_at_all() {
        let mut copy = vec![0_u8; 4096];
        copy[1000..1004].copy_from_slice(&4243_u32.to_ne_bytes());
        copy[1004..1008].copy_from_slice(&4242_u32.to_ne_bytes());
        copy[2001..2004].copy_from_slice(b"abc");
        assert_eq!(find(&copy, 4243, 4242, b"abc"), Some(Places { ids: 1000, comm: 2001 }));
        assert_eq!(find(&copy, 4243, 4242, b"ab"), None);
        let twice: Vec<u8> = copy[1000..1008].to_vec();
        copy[3000..3008].copy_from_slice(&twice);
        assert_eq!(find(&copy, 4243, 4242, b"abc"), None);
    }
}
