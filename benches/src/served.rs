//! Instructions of a request that a server answers, all of its process: axum, hyper and tokio too.

use std::{
    io::{BufRead, BufReader, Error, Read, Result, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use crate::callgrind;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-user-id: user-0000001\r\n\r\n";

/// What every server of `bench serve` answers with.
const BODY: &[u8] = b"ok";

/// Instructions of one request to `bench serve <kind>`, run by this binary.
///
/// The server runs twice, with some requests and with a thousand more, over one connection and one
/// after the other: what the start, the warm-up and the end take falls out.
///
/// # Errors
/// Where valgrind or the server can't be run, or an answer is not the expected one.
pub fn instructions(bench: &Path, kind: &str) -> Result<u64> {
    const WARM_UP: u64 = 200;
    const COUNTED: u64 = 1_000;
    let few = total(bench, kind, WARM_UP)?;
    let many = total(bench, kind, WARM_UP + COUNTED)?;
    Ok(many.saturating_sub(few) / COUNTED)
}

fn total(bench: &Path, kind: &str, requests: u64) -> Result<u64> {
    let mut child = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(bench)
        .args(["serve", kind])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let output = child
        .stdout
        .take()
        .ok_or_else(|| Error::other("no output"))?;
    let mut address = String::new();
    BufReader::new(output).read_line(&mut address)?;
    let asked = ask(address.trim(), requests);
    // Its input ends, and so does it.
    drop(child.stdin.take());
    let output = child.wait_with_output()?;
    asked?;
    let report = String::from_utf8_lossy(&output.stderr);
    callgrind::collected(&report).ok_or_else(|| Error::other(format!("valgrind said: {report}")))
}

fn ask(address: &str, requests: u64) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let (mut buffer, mut response) = ([0; 1_024], Vec::new());
    for _ in 0..requests {
        stream.write_all(REQUEST)?;
        response.clear();
        while !response.ends_with(BODY) {
            match stream.read(&mut buffer)? {
                0 => return Err(Error::other("the server closed the connection")),
                read => response.extend_from_slice(&buffer[..read]),
            }
        }
        if !response.starts_with(b"HTTP/1.1 200") {
            let response = String::from_utf8_lossy(&response);
            return Err(Error::other(format!("not a 200: {response}")));
        }
    }
    Ok(())
}
