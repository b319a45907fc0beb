//! What came of the simulated edge's own requests to one release.

use hornero_model::ProbeCounters;

/// Requests that the edge made by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SimProbed {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) server_errors: u64,
}

impl SimProbed {
    /// As a status tells it; nothing where none was made.
    pub(crate) fn told(self) -> Option<Box<ProbeCounters>> {
        let Self { requests, failed, server_errors } = self;
        let counters =
            ProbeCounters { requests, failed, server_errors, ..ProbeCounters::default() };
        (requests > 0).then(|| Box::new(counters))
    }
}
