//! A hash map of the kernel, read and emptied in bulk: by batch commands where the kernel has them (≥ 5.6), else key by key.
//!
//! While a batch command runs, the kernel skips every kprobe and perf program on that CPU (`bpf_disable_instrumentation`), and it walks the whole
//! table. Where the worker may be preempted in it, that is whole time slices; so a table that is empty is not read by it, and
//! where programs are preempted, or nobody knows, entries are read key by key, each in an instant.

use std::io;

use nix::libc;

use crate::bpf::MapHandle;

/// Entries read by one system call, at first.
const BATCH: usize = 512;

/// A hash map, and room for its entries.
#[derive(Debug)]
pub struct Hash {
    map: MapHandle,
    batches: bool,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Hash {
    /// Room for batches of `map`. `batches`: this kernel does not preempt what it does for us.
    pub fn new(map: MapHandle, batches: bool) -> Self {
        let (keys, values) = (vec![0; BATCH * map.key_size()], vec![0; BATCH * map.value_size()]);
        Hash { map, batches, keys, values }
    }

    /// The map.
    pub fn map(&self) -> &MapHandle {
        &self.map
    }

    /// Removes every entry whose key is `wanted`.
    pub fn clear(&mut self, wanted: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        let mut keys = Vec::new();
        self.read(wanted, |key, _| keys.extend_from_slice(key))?;
        self.delete(&keys)
    }

    /// Does once what reading and deleting ask of the kernel, and changes nothing.
    pub fn try_once(&self) -> io::Result<()> {
        self.map.next_key(None)?;
        self.map.delete(&vec![0xff; self.map.key_size()])
    }

    /// Calls `each` with key and value of every entry whose key is `wanted`. Entries that are not wanted may come and go meanwhile.
    pub fn read(
        &mut self,
        wanted: impl Fn(&[u8]) -> bool,
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> io::Result<()> {
        // Nothing is skipped meanwhile.
        if self.map.next_key(None)?.is_none() {
            return Ok(());
        }
        if self.batches {
            match self.read_in_batches(&wanted, &mut each) {
                // No such command; the first call says so, before any entry is read.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.batches = false,
                result => return result,
            }
        }
        self.read_by_key(wanted, each)
    }

    fn read_in_batches(
        &mut self,
        wanted: &impl Fn(&[u8]) -> bool,
        each: &mut impl FnMut(&[u8], &[u8]),
    ) -> io::Result<()> {
        let (key_size, value_size) = (self.map.key_size(), self.map.value_size());
        let mut position = None;
        loop {
            let (count, ended) = match self.map.lookup_batch(&mut position, &mut self.keys, &mut self.values)
            {
                // A bucket that is fuller than the buffers: again, with twice the room.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    self.keys.resize(self.keys.len() * 2, 0);
                    self.values.resize(self.values.len() * 2, 0);
                    continue;
                }
                result => result?,
            };
            let entries = self.keys.chunks(key_size).zip(self.values.chunks(value_size)).take(count);
            entries.filter(|(key, _)| wanted(key)).for_each(|(key, value)| each(key, value));
            if ended {
                return Ok(());
            }
        }
    }

    fn read_by_key(
        &self,
        wanted: impl Fn(&[u8]) -> bool,
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> io::Result<()> {
        let mut value = vec![0; self.map.value_size()];
        let mut key = self.map.next_key(None)?;
        while let Some(this) = key {
            if wanted(&this) && self.map.lookup(&this, &mut value)? {
                each(&this, &value);
            }
            key = self.map.next_key(Some(&this))?;
        }
        Ok(())
    }

    /// Removes the entries of `keys`, one key after the other.
    pub fn delete(&mut self, keys: &[u8]) -> io::Result<()> {
        if keys.is_empty() || (self.batches && self.map.delete_batch(keys).is_ok()) {
            return Ok(());
        }
        keys.chunks(self.map.key_size()).try_for_each(|key| self.map.delete(key))
    }
}
