//! The lock of a home: one control process owns it at a time.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hornero_home::Opening;

use crate::format;

/// How long a control process that was killed may take to be gone.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one that owns the home has to answer to count as one that stays: one that ends may answer until it has.
const ANSWERED: Duration = Duration::from_secs(1);

/// Makes the home where it is missing, and locks it.
pub fn own(home: &Path) -> anyhow::Result<File> {
    format::check(home)?;
    let show = || format!("home `{}`", home.display());
    let home = hornero_home::prepare(home).with_context(show)?;
    let lock =
        hornero_home::open(&home.join("control.lock"), Opening::Create).with_context(show)?;
    // One that was just killed still holds its lock while the kernel tidies up after it.
    let deadline = Instant::now() + LOCK_TIMEOUT;
    let mut answered: Option<Instant> = None;
    loop {
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                answered = match answers(&home) {
                    true => answered.or_else(|| Some(Instant::now())),
                    false => None,
                };
                anyhow::ensure!(
                    answered.is_none_or(|since| since.elapsed() < ANSWERED),
                    "another control process serves `{}` already",
                    home.display()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("another control process owns `{}`", home.display()));
            }
        }
    }
}

/// Whether somebody listens on a home's control socket: of one that was killed, nobody does.
fn answers(home: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(home.join("control.sock")).is_ok()
}
