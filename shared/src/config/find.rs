//! Finds and reads the configuration file.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::remarks::Remarks;
use crate::file;

/// More than any real file has, and little enough to be read at once.
const MOST_BYTES: u64 = 1 << 20;

/// The file of the specification, and its name since netdata v1.30.
const NAME: &str = "ebpf.conf";
const NEWER_NAME: &str = "ebpf.d.conf";

/// Where Netdata's packages put the directories, for runs from a shell.
const USUAL_USER_DIR: &str = "/etc/netdata";
const USUAL_STOCK_DIR: &str = "/usr/lib/netdata/conf.d";

/// The directories in which the file is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigDirs {
    /// Where users keep their files; asked first.
    pub user: Option<PathBuf>,
    /// Where packages install theirs.
    pub stock: Option<PathBuf>,
}

impl ConfigDirs {
    /// From `NETDATA_USER_CONFIG_DIR` and `NETDATA_STOCK_CONFIG_DIR`, else where packages have them.
    pub fn from_environment() -> Self {
        let dir = |name, usual: &str| env::var_os(name).filter(|dir| !dir.is_empty()).unwrap_or(usual.into());
        Self {
            user: Some(dir("NETDATA_USER_CONFIG_DIR", USUAL_USER_DIR).into()),
            stock: Some(dir("NETDATA_STOCK_CONFIG_DIR", USUAL_STOCK_DIR).into()),
        }
    }

    /// The files in the order of preference. A stock `ebpf.d.conf` is not among them: it states the defaults
    /// of Netdata's own plugin, which disables most of what this one shows, and is no user's wish.
    fn candidates(&self) -> Vec<PathBuf> {
        let user = self.user.iter().flat_map(|dir| [dir.join(NAME), dir.join(NEWER_NAME)]);
        user.chain(self.stock.iter().map(|dir| dir.join(NAME))).collect()
    }
}

/// The first file that can be read, with at most its first megabyte; files that exist but cannot be read are
/// named.
pub fn find(dirs: &ConfigDirs, remarks: &mut Remarks) -> Option<(PathBuf, Vec<u8>)> {
    let candidates = dirs.candidates();
    for path in &candidates {
        match file::read(path, MOST_BYTES) {
            Ok((bytes, length)) => return Some((path.clone(), shorten(path, bytes, length, remarks))),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let message = format!(
                    "exists but cannot be read: {error}; the stock file or the defaults are used. Make it a \
                     file that the user of the plugin may read"
                );
                remarks.error(path, None, message);
            }
        }
    }
    None
}

/// Cuts a huge file behind its last whole line, because half of a line could be a wrong number.
fn shorten(file: &Path, mut bytes: Vec<u8>, length: u64, remarks: &mut Remarks) -> Vec<u8> {
    if bytes.len() as u64 <= MOST_BYTES {
        return bytes;
    }
    let end = bytes.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
    bytes.truncate(end);
    let message = format!("has {length} bytes; only the whole lines within the first {MOST_BYTES} are used");
    remarks.warning(file, None, message);
    bytes
}
