//! The little HTTP that asks an agent on loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Body of `GET path` from loopback. Fails at any status but 200.
pub fn http_get(port: u16, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("the agent does not listen")?;
    stream.set_read_timeout(Some(REQUEST_LIMIT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .with_context(|| format!("GET {path}"))?;
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("answer without a header's end")?;
    let header = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = header.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "GET {path}: {status}");
    let body = answer.split_off(end + 4);
    if header.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return dechunk(&body);
    }
    Ok(body)
}

/// Joins the pieces of a chunked body.
fn dechunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = rest
            .windows(2)
            .position(|window| window == b"\r\n")
            .context("chunk without a length")?;
        let length = std::str::from_utf8(&rest[..end])
            .ok()
            .and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
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
        assert_eq!(
            dechunk(b"3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n").unwrap(),
            b"abc0123456789"
        );
        assert!(dechunk(b"5\r\nabc\r\n").is_err());
        assert!(dechunk(b"x").is_err());
    }
}
