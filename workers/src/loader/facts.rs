//! What there is to know about the running kernel before anything is tried.

use std::path::{Path, PathBuf};

use aya::Btf;

use shared::file;
use shared::symbols::Symbols;

/// More than a kernel's types take; 7.2 has 7 MB.
const LONGEST_BTF: u64 = 256 << 20;

/// Facts about the running kernel.
#[derive(Debug)]
pub struct Facts {
    /// Types of the kernel; `None` when there are none or they cannot be read.
    pub btf: Option<Btf>,
    /// Where they were looked for, and why they are missing.
    btf_problem: Option<String>,
    /// Functions of the kernel.
    pub symbols: Symbols,
    /// Possible CPUs: as many as the kernel may ever bring up.
    pub cpus: usize,
}

impl Facts {
    /// Looks at the running kernel. `btf_path`: the directory of `vmlinux`, or the file itself.
    ///
    /// Fails only when the number of CPUs or the kernel's functions cannot be read.
    pub fn gather(btf_path: &Path) -> anyhow::Result<Self> {
        let cpus =
            aya::util::nr_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
        let symbols = Symbols::read(Path::new("/proc/kallsyms"))
            .map_err(|error| anyhow::anyhow!("cannot read /proc/kallsyms: {error}"))?;
        let file = vmlinux(btf_path);
        let (btf, btf_problem) = match read_btf(&file) {
            Ok(btf) => (Some(btf), None),
            Err(error) => (None, Some(format!("cannot be read from {}: {error:#}", file.display()))),
        };
        Ok(Facts { btf, btf_problem, symbols, cpus })
    }

    /// Why there is no BTF, as the end of a sentence.
    pub fn btf_missing(&self) -> &str {
        self.btf_problem.as_deref().unwrap_or("is there")
    }
}

fn read_btf(path: &Path) -> anyhow::Result<Btf> {
    let (bytes, _) = file::read(path, LONGEST_BTF)?;
    Ok(Btf::parse(&bytes, aya::Endianness::default())?)
}

fn vmlinux(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("vmlinux") } else { path.to_owned() }
}
