//! Ctrl-C: noted, so that a task cleans up before it ends.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, bail};

const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// What they did before.
static BEFORE: [AtomicUsize; 3] = [const { AtomicUsize::new(libc::SIG_DFL) }; 3];
static WATCHED: AtomicBool = AtomicBool::new(false);

static SEEN: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    SEEN.store(true, Ordering::SeqCst);
}

/// From now on Ctrl-C and SIGTERM are noted instead of ending this process. Programs it starts get Ctrl-C themselves.
pub fn watch() {
    if WATCHED.swap(true, Ordering::SeqCst) {
        return;
    }
    let handler = note as extern "C" fn(libc::c_int);
    for (signal, before) in SIGNALS.iter().zip(&BEFORE) {
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
        let was = unsafe { libc::signal(*signal, handler as libc::sighandler_t) };
        before.store(was, Ordering::SeqCst);
    }
}

/// From now on they do again what they did before, which may be nothing.
pub fn unwatch() {
    if !WATCHED.swap(false, Ordering::SeqCst) {
        return;
    }
    for (signal, before) in SIGNALS.iter().zip(&BEFORE) {
        // SAFETY: what was there before `watch` is put back; nothing of this module runs at a signal by then.
        unsafe { libc::signal(*signal, before.load(Ordering::SeqCst)) };
    }
}

/// An error once a signal was noted.
pub fn check() -> Result<()> {
    if SEEN.load(Ordering::SeqCst) { bail!("interrupted") } else { Ok(()) }
}
