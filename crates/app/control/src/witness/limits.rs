//! What a witness may take of time and room.

use std::{
    io::{self, Read as _},
    time::Duration,
};

/// How long a witness may take for one head: one that hangs is as good as down.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// What a witness may hold: a head has 218 bytes, so 64 MiB are 300,000 commits.
const BYTES_MAX: u64 = 64 << 20;

/// All that a witness gives.
pub(super) fn within_limits(from: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    let read = from.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("it holds more than {BYTES_MAX} bytes")));
    }
    Ok(text)
}
