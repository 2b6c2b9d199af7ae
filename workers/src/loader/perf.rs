//! perf events that a program can be attached to: made by perf_event_open(2), gone when their descriptor is closed.
//!
//! Ours instead of aya's, because aya chooses between ways by the kernel's version, which lies under `setarch --uname-2.6`
//! and on vendors' kernels; here each way is tried.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;

/// PERF_TYPE_TRACEPOINT.
pub const TRACEPOINT: u32 = 2;

/// PERF_FLAG_FD_CLOEXEC.
const FD_CLOEXEC: libc::c_ulong = 1 << 3;

/// `struct perf_event_attr` as it was in its second version (72 bytes, 2.6.33), which every kernel takes.
#[repr(C)]
#[derive(Default)]
struct Attribute {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
    config2: u64,
}

/// Opens the event `config` of the PMU `kind`, for all processes. `function`: for the kprobe PMU, what to probe.
pub fn open(kind: u32, config: u64, function: Option<&CStr>) -> io::Result<OwnedFd> {
    let attribute = Attribute {
        kind,
        size: size_of::<Attribute>() as u32,
        config,
        sample_period: 1,
        config1: function.map_or(0, |name| name.as_ptr() as u64),
        ..Attribute::default()
    };
    let (every_process, first_cpu, no_group) = (-1, 0, -1);
    // SAFETY: `attribute` and the name it points to live through the call, and its size field is its size; no other pointer is passed.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(&attribute),
            every_process,
            first_cpu,
            no_group,
            FD_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

mod requests {
    use nix::libc;
    nix::ioctl_none!(enable, b'$', 0);
    nix::ioctl_write_int!(set_bpf, b'$', 8);
    pub type Argument = libc::c_ulong;
}

/// Lets `program` run at every event of `event`; detached when `event` is closed.
pub fn attach(event: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let program = requests::Argument::from(program.as_raw_fd().cast_unsigned());
    // SAFETY: PERF_EVENT_IOC_SET_BPF takes a descriptor by value, and both are open.
    unsafe { requests::set_bpf(event.as_raw_fd(), program) }?;
    // SAFETY: PERF_EVENT_IOC_ENABLE takes no argument.
    unsafe { requests::enable(event.as_raw_fd()) }?;
    Ok(())
}
