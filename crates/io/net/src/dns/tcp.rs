//! Messages over TCP: each behind its length in two bytes (RFC 1035 section 4.2.2).

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::message::QUERY_MAX_BYTES;

/// How long a connection may wait for its next query (RFC 7766 section 6.2.3 asks for seconds).
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many queries a connection may carry, so that none lives for ever.
const QUERIES_MAX: usize = 1000;

/// Answers the queries of a connection until its end.
pub(super) fn serve(
    mut stream: TcpStream,
    answer: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(IDLE_TIMEOUT))?;
    for _ in 0..QUERIES_MAX {
        let until = Instant::now() + IDLE_TIMEOUT;
        let Some(message) = read_message(&mut stream, QUERY_MAX_BYTES, until)? else { break };
        let Some(response) = answer(&message) else { break };
        let mut bytes = (response.len() as u16).to_be_bytes().to_vec();
        bytes.extend_from_slice(&response);
        stream.write_all(&bytes)?;
    }
    Ok(())
}

/// The next message, of at most this size; `None` at the end of the stream.
pub(super) fn read_message(
    stream: &mut TcpStream,
    max_bytes: usize,
    until: Instant,
) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    if !read_whole(stream, &mut length, until)? {
        return Ok(None);
    }
    let length = usize::from(u16::from_be_bytes(length));
    if length > max_bytes {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    if read_whole(stream, &mut message, until)? {
        Ok(Some(message))
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The time left; an error where none is.
pub(super) fn remaining(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Fills the buffer, however slowly the bytes come, until the deadline; `false` where the stream
/// ends before the first.
fn read_whole(stream: &mut TcpStream, buffer: &mut [u8], until: Instant) -> io::Result<bool> {
    let mut done = 0;
    while done < buffer.len() {
        stream.set_read_timeout(Some(remaining(until)?))?;
        match stream.read(&mut buffer[done..]) {
            Ok(0) if done == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
