//! Gives memory back to the system once many connections have gone: the allocator alone would keep most of it, as what
//! lives on lies between what was freed.

use std::{rc::Rc, time::Duration};

use crate::control::Control;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Connections below which a peak is not worth the work.
const PEAK: u64 = 512;

/// Looks for as long as the edge runs.
pub(crate) async fn give_back_for_ever(control: Rc<Control>) {
    let (mut peak, mut before) = (0, 0);
    loop {
        tokio::time::sleep(INTERVAL).await;
        let open = control.connections();
        peak = peak.max(control.common.rooms.take_peak());
        if peak >= PEAK && open <= peak / 2 {
            if open >= before {
                // The last of them have gone.
                peak = open;
            }
            // Not on this thread: it takes a while for a large heap. Nothing depends on its end.
            let _ = tokio::task::spawn_blocking(trim).await;
        }
        before = open;
    }
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it may be called at any time from any thread, and touches free memory only.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}
