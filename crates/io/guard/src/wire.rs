//! Reading and writing with a deadline, and never more than a guard needs.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::ProbeError;

/// The longest answer that is read: the largest that a guard asks for are statistics of a thousand streams.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A connection whose every read and write ends by a deadline.
pub(crate) struct Deadlined {
    stream: TcpStream,
    deadline: Instant,
}

impl Deadlined {
    /// Connects.
    pub fn connect(address: SocketAddr, deadline: Instant) -> Result<Self, ProbeError> {
        let unreachable = |source| ProbeError::Unreachable { address, source };
        let left = left(deadline).map_err(unreachable)?;
        let stream = TcpStream::connect_timeout(&address, left).map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        Ok(Self { stream, deadline })
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

impl Read for Deadlined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Deadlined {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Exactly so many bytes.
pub(crate) fn exactly(from: &mut impl Read, length: usize) -> Result<Vec<u8>, ProbeError> {
    if length > ANSWER_BYTES_MAX {
        return Err(ProbeError::foreign(format!("it announces {length} bytes")));
    }
    let mut bytes = Vec::new();
    from.by_ref().take(length as u64).read_to_end(&mut bytes)?;
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

/// A line without its end, which is read byte by byte: what follows is somebody else's.
pub(crate) fn line(from: &mut impl Read, most: usize) -> Result<Vec<u8>, ProbeError> {
    let mut line = Vec::new();
    while line.len() < most {
        line.extend(exactly(from, 1)?);
        if line.ends_with(b"\r\n") {
            line.truncate(line.len() - 2);
            return Ok(line);
        }
    }
    Err(ProbeError::foreign("a line without an end"))
}

/// All there is to its end, `most` bytes.
pub(crate) fn to_end(from: &mut impl Read, most: usize) -> Result<Vec<u8>, ProbeError> {
    let mut bytes = Vec::new();
    from.by_ref().take(most as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > most {
        true => Err(ProbeError::foreign(format!("it is longer than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// What a server says, as it may be shown: one line, and not all of a long one.
pub(crate) fn told(bytes: &[u8]) -> String {
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(bytes);
    let plain = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    plain.take(MOST).collect::<String>().trim().to_owned()
}
