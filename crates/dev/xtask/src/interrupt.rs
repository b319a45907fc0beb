//! Ctrl-C: noted, so that a task cleans up before it ends.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

static SEEN: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    SEEN.store(true, Ordering::SeqCst);
}

/// From now on Ctrl-C and SIGTERM are noted instead of ending this process. Programs it starts get Ctrl-C themselves.
pub fn watch() {
    let handler = note as extern "C" fn(libc::c_int);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// An error once a signal was noted.
pub fn check() -> Result<()> {
    if SEEN.load(Ordering::SeqCst) { bail!("interrupted") } else { Ok(()) }
}
