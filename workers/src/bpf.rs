//! The few bpf(2) calls that aya does not offer: bytes in, bytes out, on descriptors that aya made.
//!
//! Values are handled as bytes because their length differs between modules; `rows.rs` knows what they mean.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

/// Commands of bpf(2); include/uapi/linux/bpf.h.
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const MAP_GET_NEXT_KEY: libc::c_long = 4;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const LINK_CREATE: libc::c_long = 28;
const MAP_LOOKUP_BATCH: libc::c_long = 24;
const MAP_DELETE_BATCH: libc::c_long = 27;

/// `union bpf_attr` for the commands on one element.
#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value_or_next_key: u64,
    flags: u64,
}

/// `union bpf_attr` for the commands on many elements.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `union bpf_attr` for BPF_MAP_CREATE, as far as we set it.
#[repr(C)]
#[derive(Default)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

/// `union bpf_attr` for BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    info: u64,
}

fn call<T>(command: libc::c_long, attribute: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attribute` is a live repr(C) struct laid out as bpf_attr is for this command, its size goes with it, and every address
    // in it was taken from a buffer that the caller keeps borrowed, of the length that the map's key and value sizes ask for.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute as *mut T, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// A map that this process may read and write, with the sizes of its keys and values in bytes.
#[derive(Debug)]
pub struct MapHandle {
    fd: OwnedFd,
    key_size: usize,
    value_size: usize,
}

impl MapHandle {
    /// A handle of its own on `fd`. `key_size` and `value_size` must be those that the map was made with.
    pub fn new(fd: BorrowedFd<'_>, key_size: usize, value_size: usize) -> io::Result<Self> {
        Ok(MapHandle { fd: fd.try_clone_to_owned()?, key_size, value_size })
    }

    /// `fd` itself, which another process may have sent: the kernel is asked whether the sizes are right.
    pub fn of(fd: OwnedFd, key_size: usize, value_size: usize) -> io::Result<Self> {
        use std::os::fd::AsFd;
        /// `key_size` and `value_size` of `struct bpf_map_info`: the third and fourth word.
        const SIZES: usize = 16;
        let sizes = info_word::<SIZES>(fd.as_fd())?.unwrap_or(0).to_ne_bytes();
        let (key, value) = sizes.split_at(4);
        if key != (key_size as u32).to_ne_bytes() || value != (value_size as u32).to_ne_bytes() {
            return Err(io::Error::other("a map of another shape"));
        }
        Ok(MapHandle { fd, key_size, value_size })
    }

    /// Reads the value of `key` into `value`; `false` when there is none.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        self.check(key, self.key_size);
        self.check(value, self.value_size);
        let mut element = self.element(key, value.as_mut_ptr() as u64);
        match call(MAP_LOOKUP_ELEM, &mut element) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets the value of `key`.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check(key, self.key_size);
        self.check(value, self.value_size);
        call(MAP_UPDATE_ELEM, &mut self.element(key, value.as_ptr() as u64)).map(drop)
    }

    /// Removes `key`; one that is not there is no error.
    pub fn delete(&self, key: &[u8]) -> io::Result<()> {
        self.check(key, self.key_size);
        match call(MAP_DELETE_ELEM, &mut self.element(key, 0)) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// The key after `key` (the first for `None`); `None` at the end.
    pub fn next_key(&self, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.key_size];
        let mut element = self.element(key.unwrap_or_default(), next.as_mut_ptr() as u64);
        if key.is_none() {
            element.key = 0;
        }
        match call(MAP_GET_NEXT_KEY, &mut element) {
            Ok(_) => Ok(Some(next)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads up to `keys.len() / key size` entries of a hash (≥ 5.6). `position` is 0 at the start and kept by the kernel between calls.
    ///
    /// Returns the number of entries and whether that was the end. ENOSPC: the buffers are smaller than one bucket.
    pub fn lookup_batch(
        &self,
        position: &mut Option<u32>,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> io::Result<(usize, bool)> {
        let room = (keys.len() / self.key_size).min(values.len() / self.value_size);
        let mut next: u32 = 0;
        let mut batch = Batch {
            in_batch: position.as_ref().map_or(0, |place| std::ptr::from_ref(place) as u64),
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(room).unwrap_or(u32::MAX),
            map_fd: raw(self.fd()),
            ..Batch::default()
        };
        let ended = match call(MAP_LOOKUP_BATCH, &mut batch) {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        *position = Some(next);
        Ok((batch.count as usize, ended))
    }

    /// Removes all of `keys`, one after the other in one call (≥ 5.6); stops at one that is not there.
    pub fn delete_batch(&self, keys: &[u8]) -> io::Result<()> {
        let mut batch = Batch {
            keys: keys.as_ptr() as u64,
            count: u32::try_from(keys.len() / self.key_size).unwrap_or(u32::MAX),
            map_fd: raw(self.fd()),
            ..Batch::default()
        };
        call(MAP_DELETE_BATCH, &mut batch).map(drop)
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.fd.as_fd()
    }

    /// Bytes of a key.
    pub fn key_size(&self) -> usize {
        self.key_size
    }

    /// Bytes of a value.
    pub fn value_size(&self) -> usize {
        self.value_size
    }

    fn element(&self, key: &[u8], value_or_next_key: u64) -> Element {
        Element { map_fd: raw(self.fd()), key: key.as_ptr() as u64, value_or_next_key, ..Element::default() }
    }

    fn check(&self, buffer: &[u8], size: usize) {
        assert_eq!(
            buffer.len(),
            size,
            "a buffer that is not of the map's size would be overrun by the kernel"
        );
    }
}

/// Creates a map without BTF, name or memory accounting beyond the kernel's own.
///
/// `inner`: for maps of maps, one that the others are like.
pub fn create_map(
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    inner: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let mut attribute = Create {
        map_type,
        key_size,
        value_size,
        max_entries,
        map_flags: 0,
        inner_map_fd: inner.map_or(0, raw),
    };
    own(call(MAP_CREATE, &mut attribute)?)
}

/// `union bpf_attr` for BPF_LINK_CREATE, as far as a perf event needs it.
#[repr(C)]
#[derive(Default)]
struct Link {
    program_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    cookie: u64,
}

/// Lets `program` run at every event of the perf event, until the link is closed (≥ 5.15).
pub fn create_perf_link(program: BorrowedFd<'_>, event: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    /// BPF_PERF_EVENT.
    const PERF_EVENT: u32 = 41;
    let mut attribute =
        Link { program_fd: raw(program), target_fd: raw(event), attach_type: PERF_EVENT, ..Link::default() };
    own(call(LINK_CREATE, &mut attribute)?)
}

/// How often the kernel skipped a program because it was already running on that CPU; `None` where the kernel does not say (< 5.12).
pub fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    /// Offset of `recursion_misses` in `struct bpf_prog_info`, which only grows.
    const RECURSION_MISSES: usize = 208;
    info_word::<{ RECURSION_MISSES + 8 }>(program)
}

/// How often a kprobe was skipped, or a kretprobe had no instance free, by the link that attaches it; `None` where the kernel does not say
/// (< 6.7).
pub fn link_misses(link: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    /// Offset of `perf_event.kprobe.missed` in `struct bpf_link_info`, which only grows.
    const MISSED: usize = 48;
    info_word::<{ MISSED + 8 }>(link)
}

/// The last word of the first `END` bytes that the kernel tells of an object; `None` when it tells less.
fn info_word<const END: usize>(object: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let mut info = [0_u8; END];
    let mut attribute = Info { fd: raw(object), length: END as u32, info: info.as_mut_ptr() as u64 };
    call(OBJ_GET_INFO_BY_FD, &mut attribute)?;
    let mut word = [0; 8];
    word.copy_from_slice(&info[END - 8..]);
    Ok((attribute.length as usize >= END).then(|| u64::from_ne_bytes(word)))
}

/// A duplicate of a descriptor of this process, closed on exec.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the number is only passed to fcntl; if it is not open (any more) that fails.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    borrowed.try_clone_to_owned()
}

/// A descriptor that the kernel has just made.
fn own(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the caller got it from a system call that makes one, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
