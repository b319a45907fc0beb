//! The control process before this one: what it leaves is tried before it is told to end.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hornero_api::{Client, ClientError, message::Nothing};
use hornero_rollout::World;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{format, offline, up::serves};

/// How long the control process before this one may take to end: what it does with nothing left to serve takes longest.
const END_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is asked to: one that is just starting hears it later.
const ASK_INTERVAL: Duration = Duration::from_millis(500);
/// Between two looks whether it has.
const END_LOOK: Duration = Duration::from_millis(2);

/// Whether this program can read what a home holds; changes nothing, and may be asked while control runs.
pub fn readable(home: &Path) -> anyhow::Result<()> {
    format::check(home)?;
    offline::world(home).context("the ledger can't be read")?;
    Ok(())
}

/// The work of taking the place of the control process that runs.
///
/// It holds the lock of upgrades, which the command hands to it, until it answers: also where that command was killed, the
/// next upgrade finds either what was before or what came of this one, and nothing under way.
pub struct Succession {
    _lock: File,
    /// Whether anything was served when it began.
    served: bool,
    /// Whether the predecessor said that it ends because of this one.
    agreed: bool,
}

impl Succession {
    /// Ends the control process that owns the home, if one does. Nothing happens to it where this program can't read what
    /// it leaves.
    pub fn begin(home: &Path, lock: File) -> anyhow::Result<Self> {
        readable(home).context("this version can't take over")?;
        let served = serves(&offline::world(home)?);
        let mut succession = Self { _lock: lock, served, agreed: false };
        let deadline = Instant::now() + END_TIMEOUT;
        while is_owned(home)? {
            // Asked again and again: one that is just starting answers a little later, and another word changes nothing.
            succession.agreed |= ask(home)?;
            anyhow::ensure!(
                Instant::now() < deadline,
                "the control process that runs did not end in {} s",
                END_TIMEOUT.as_secs()
            );
            let next = Instant::now() + ASK_INTERVAL;
            while is_owned(home)? && Instant::now() < next {
                std::thread::sleep(END_LOOK);
            }
        }
        Ok(succession)
    }

    /// Whether everything was taken down meanwhile, with control: a predecessor that was killed leaves its servers, one
    /// that ended because of a `down` leaves nothing to do.
    pub fn is_moot(&self, world: &World) -> bool {
        !serves(world) && (self.served || !self.agreed)
    }
}

/// Tells the control process that runs to end; whether it agreed.
fn ask(home: &Path) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(home.join("control.sock"));
    let asked = runtime.block_on(client.post::<Nothing>("/v1/shutdown", &serde_json::json!({})));
    match asked {
        Ok(_) => Ok(true),
        // One that ends may be gone before it has answered, one that starts may not answer yet.
        Err(ClientError::Unreachable { .. } | ClientError::Broken(_)) => Ok(false),
        Err(error) => Err(error).context("the control process that runs does not end"),
    }
}

/// Whether a control process lives.
fn is_owned(home: &Path) -> anyhow::Result<bool> {
    let path = home.join("control.lock");
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("`{}`", path.display())),
    };
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error).with_context(|| format!("`{}`", path.display())),
    }
}
