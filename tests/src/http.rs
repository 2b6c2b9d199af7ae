//! The little HTTP that asks an agent on loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Body of `GET path` from loopback. Fails at any status but 200.
///
/// Reads as much as the header announces and does not wait for the end of the connection: with agent 1.37 that
/// wait timed out now and then.
pub fn http_get(port: u16, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("the agent does not listen")?;
    stream.set_read_timeout(Some(REQUEST_LIMIT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    // In one write, so that the agent never sees half a request.
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = vec![0; 65536];
    loop {
        let length = stream
            .read(&mut piece)
            .with_context(|| format!("GET {path}: {} bytes came, then silence", answer.len()))?;
        answer.extend_from_slice(&piece[..length]);
        if let Some(body) = body(&answer, length == 0).with_context(|| format!("GET {path}"))? {
            return Ok(body);
        }
    }
}

/// The body of an answer, `None` while it is incomplete; `ended` when nothing will follow.
fn body(answer: &[u8], ended: bool) -> Result<Option<Vec<u8>>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        ensure!(!ended, "the answer ends inside its header");
        return Ok(None);
    };
    let header = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status = header.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "{status}");
    let body = &answer[end + 4..];
    let field = |name: &str| header.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if field("transfer-encoding:") == Some("chunked") {
        ensure!(!ended || body.ends_with(b"0\r\n\r\n"), "the answer ends inside a chunk");
        return if body.ends_with(b"0\r\n\r\n") { dechunk(body).map(Some) } else { Ok(None) };
    }
    match field("content-length:").map(str::parse::<usize>) {
        Some(Ok(length)) if body.len() >= length => Ok(Some(body[..length].to_vec())),
        Some(Ok(length)) => {
            ensure!(!ended, "the answer ends after {} of {length} bytes", body.len());
            Ok(None)
        }
        Some(Err(error)) => bail!("bad content-length: {error}"),
        None => Ok(ended.then(|| body.to_vec())),
    }
}

/// Joins the pieces of a chunked body.
fn dechunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").context("chunk without a length")?;
        let digits = std::str::from_utf8(&rest[..end]).ok();
        let length = digits.and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
        let start = end + 2;
        match length {
            Some(0) => return Ok(whole),
            Some(length) if rest.len() >= start + length + 2 => {
                whole.extend_from_slice(&rest[start..start + length]);
                rest = &rest[start + length + 2..];
            }
            _ => bail!("bad chunk"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined() {
        assert_eq!(dechunk(b"3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n").unwrap(), b"abc0123456789");
        assert!(dechunk(b"5\r\nabc\r\n").is_err());
        assert!(dechunk(b"x").is_err());
    }

    #[test]
    fn a_body_ends_where_its_header_says() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(body(answer, false).unwrap().unwrap(), b"abc");
        assert_eq!(body(&answer[..answer.len() - 1], false).unwrap(), None);
        assert!(body(&answer[..answer.len() - 1], true).is_err());
        assert_eq!(body(b"HTTP/1.1 200 OK\r\n\r\nabc", false).unwrap(), None);
        assert_eq!(body(b"HTTP/1.1 200 OK\r\n\r\nabc", true).unwrap().unwrap(), b"abc");
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        assert_eq!(body(chunked, false).unwrap().unwrap(), b"a");
        assert!(body(b"HTTP/1.1 404 Not Found\r\n\r\n", true).is_err());
    }
}
