//! The eBPF programs of every module, compiled for every kind of kernel; nothing is compiled on the user's machine.
#![forbid(unsafe_code)]

/// Which kernels an object is for; `common/bpf.h` has the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// BTF and compare-and-swap (≥ 5.12): rows are claimed in a mapped array.
    Rows,
    /// BTF (≥ 5.5): rows are kept in a hash.
    Hash,
    /// No BTF, nothing that 4.14 refuses: kprobes.
    Legacy,
}

/// One compiled eBPF object.
struct Object {
    module: &'static str,
    flavour: Flavour,
    apps: bool,
    returns: bool,
    bytes: &'static [u8],
}

/// Aligned as the ELF parser wants it.
#[repr(C, align(32))]
struct Aligned<Bytes: ?Sized>(Bytes);

macro_rules! include_object {
    ($path:literal) => {{
        static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!($path));
        &ALIGNED.0
    }};
}

include!(concat!(env!("OUT_DIR"), "/objects.rs"));

/// The object of `module` for kernels of `flavour`.
///
/// `apps`: with rows for each process. `returns`: with errors (`ebpf load mode = return`).
/// `None` when there is no such module.
pub fn object(module: &str, flavour: Flavour, apps: bool, returns: bool) -> Option<&'static [u8]> {
    OBJECTS
        .iter()
        .find(|object| {
            object.module == module
                && object.flavour == flavour
                && object.apps == apps
                && object.returns == returns
        })
        .map(|object| object.bytes)
}
