//! What was read of a canary's counters while its window went on.

use hornero_judge::Readings;

use crate::Window;

/// What was read of a canary's window while it went on. Where control begins anew it does too: the window itself is kept, and
/// nothing is said of latencies until there are enough readings again.
#[derive(Debug, Clone, PartialEq)]
pub struct CanaryReadings {
    /// The window.
    window: Window,
    /// How long requests from outside took in it.
    pub(crate) from_outside: Readings,
    /// How long the edge's own took.
    pub(crate) own: Readings,
}

impl CanaryReadings {
    /// Nothing yet of a window.
    pub(crate) fn of(window: &Window) -> Self {
        let (from_outside, own) = (Readings::default(), Readings::default());
        Self { window: window.clone(), from_outside, own }
    }

    /// Whether they were read in this window.
    pub(crate) fn is_of(&self, window: &Window) -> bool {
        self.window == *window
    }
}
