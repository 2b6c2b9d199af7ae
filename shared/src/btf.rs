//! Reads what a forecast needs of a kernel's BTF: the names of functions, of typed tracepoints and of helpers.
//!
//! Only the supervisor's forecast uses it; programs are loaded with the loader's own reader. A file that is no BTF is an error, never a panic:
//! nothing is trusted that was not checked against the file's length.

use std::collections::HashSet;

/// Why a file is no BTF.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// The first bytes are others.
    #[error("no BTF: it does not begin with its magic number")]
    Magic,
    /// Something lies outside of the file.
    #[error("cut short or corrupt: {0}")]
    Short(&'static str),
    /// A kind of type that nobody knew when this was written.
    #[error("type {number} is of kind {kind}, which is not known")]
    Kind {
        /// Its number.
        number: usize,
        /// Its kind.
        kind: u32,
    },
}

/// Names in a kernel's BTF.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Btf {
    functions: HashSet<String>,
    tracepoints: HashSet<String>,
    helpers: HashSet<String>,
}

const MAGIC: u16 = 0xeb9f;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const FUNCTION: u32 = 12;
const ENUM64: u32 = 19;

/// Bytes behind the 12 of every type (include/uapi/linux/btf.h), by kind: fixed, and for each of its `vlen` members.
fn behind(kind: u32) -> Option<(usize, usize)> {
    Some(match kind {
        1 | 14 | 17 => (4, 0),
        3 => (12, 0),
        4 | 5 | 15 | ENUM64 => (0, 12),
        ENUM | 13 => (0, 8),
        2 | 7 | TYPEDEF | 9..=11 | FUNCTION | 16 | 18 => (0, 0),
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

fn part<'a>(body: &'a [u8], bytes: &[u8], offset: usize, what: &'static str) -> Result<&'a [u8], BtfError> {
    let read = || {
        let (start, length) = (word(bytes, offset)? as usize, word(bytes, offset + 4)? as usize);
        body.get(start..start.checked_add(length)?)
    };
    read().ok_or(BtfError::Short(what))
}

impl Btf {
    /// Reads the file of a little-endian kernel.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        if bytes.get(..2) != Some(&MAGIC.to_le_bytes()) {
            return Err(BtfError::Magic);
        }
        let header = word(bytes, 4).ok_or(BtfError::Short("header"))? as usize;
        let body = bytes.get(header..).ok_or(BtfError::Short("header"))?;
        let types = part(body, bytes, 8, "types")?;
        let strings = part(body, bytes, 16, "strings")?;
        Btf::default().read(types, strings)
    }

    fn read(mut self, types: &[u8], strings: &[u8]) -> Result<Self, BtfError> {
        let name = |offset: u32| {
            let from = strings.get(offset as usize..).ok_or(BtfError::Short("name"))?;
            let end = from.iter().position(|&byte| byte == 0).ok_or(BtfError::Short("name"))?;
            Ok(String::from_utf8_lossy(&from[..end]).into_owned())
        };
        let (mut at, mut number) = (0, 0);
        while at < types.len() {
            number += 1;
            let short = BtfError::Short("type");
            let (Some(own), Some(info)) = (word(types, at), word(types, at + 4)) else { return Err(short) };
            let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let (fixed, each) = behind(kind).ok_or(BtfError::Kind { number, kind })?;
            let body = at + 12;
            at = body + fixed + each * members;
            if at > types.len() {
                return Err(BtfError::Short("type"));
            }
            match kind {
                FUNCTION => drop(self.functions.insert(name(own)?)),
                TYPEDEF => {
                    if let Some(tracepoint) = name(own)?.strip_prefix("btf_trace_") {
                        self.tracepoints.insert(tracepoint.to_owned());
                    }
                }
                ENUM | ENUM64 => {
                    for member in 0..members {
                        let of = word(types, body + each * member).ok_or(BtfError::Short("enum"))?;
                        if let Some(helper) = name(of)?.strip_prefix("BPF_FUNC_") {
                            self.helpers.insert(helper.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(self)
    }

    /// Whether the kernel has types for a function.
    pub fn has_function(&self, name: &str) -> bool {
        self.functions.contains(name)
    }

    /// Whether the kernel has a typed tracepoint.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.tracepoints.contains(name)
    }

    /// Whether the kernel has a helper function for programs.
    pub fn has_helper(&self, name: &str) -> bool {
        self.helpers.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Function `f`, typedef `btf_trace_t`, and an enumeration with `BPF_FUNC_h`.
    fn small() -> Vec<u8> {
        let strings = b"\0f\0btf_trace_t\0BPF_FUNC_h\0";
        let mut types = Vec::new();
        for numbers in
            [[1_u32, FUNCTION << 24, 0].as_slice(), &[3, TYPEDEF << 24, 0], &[0, ENUM << 24 | 1, 4, 15, 0]]
        {
            types.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.extend([1, 0]);
        for number in [24, 0, types.len(), types.len(), strings.len()] {
            bytes.extend((number as u32).to_le_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn names_are_found() {
        let btf = Btf::parse(&small()).unwrap();
        assert!(btf.has_function("f") && btf.has_tracepoint("t") && btf.has_helper("h"));
        assert!(!btf.has_function("t") && !btf.has_helper("f"));
    }

    #[test]
    fn shortened_and_changed_files_are_errors_or_other_names_but_never_panics() {
        let whole = small();
        for length in 0..whole.len() {
            assert!(Btf::parse(&whole[..length]).is_err(), "{length}");
        }
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        for _ in 0..50_000 {
            let mut bytes = whole.clone();
            for _ in 0..1 + random() % 4 {
                let at = random() % bytes.len();
                bytes[at] = random() as u8;
            }
            let _ = Btf::parse(&bytes);
        }
        for length in 0..2_000 {
            let mut bytes: Vec<u8> = (0..length).map(|_| random() as u8).collect();
            if length > 2 {
                bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
            }
            let _ = Btf::parse(&bytes);
        }
    }
}
