//! Reads what a person wrote, or something else that stands in its place: waits for nobody, and ends.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// At most one byte more than `most` of a regular file, and the length that the system reports.
///
/// Fails for a directory, a device, a pipe or a socket.
pub fn read(file: &Path, most: u64) -> io::Result<(Vec<u8>, u64)> {
    // Before opening, because opening a pipe would wait for its other end.
    let facts = fs::metadata(file)?;
    if !facts.is_file() {
        let what = if facts.is_dir() { "it is a directory" } else { "it is a device, pipe or socket" };
        return Err(io::Error::other(what));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes, facts.len()))
}

/// The whole text of a regular file. Fails as [`read`] does, and where it is longer than `most` bytes or not UTF-8.
pub fn read_text(file: &Path, most: u64) -> io::Result<String> {
    let (bytes, length) = read(file, most)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has {length} bytes; {most} is the most")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_is_no_text_is_an_error_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        assert_eq!(read_text(&file, 9).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(&file, "123456789").unwrap();
        assert_eq!(read_text(&file, 9).unwrap(), "123456789");
        assert_eq!(read(&file, 5).unwrap(), (b"123456".to_vec(), 9));
        assert!(read_text(&file, 8).is_err());
        fs::write(&file, b"\xff").unwrap();
        assert!(read_text(&file, 9).is_err());
        assert!(read_text(directory.path(), 9).is_err());
        assert!(read_text(Path::new("/dev/zero"), 9).is_err());
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success() && read_text(&pipe, 9).is_err());
    }
}
