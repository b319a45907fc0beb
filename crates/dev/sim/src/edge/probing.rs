//! Requests that the simulated edge makes by itself to both releases of a canary.

use super::SimEdge;
use crate::{Random, SimEngine};

impl SimEdge {
    /// Asks one healthy server of each release that shares the requests of a pool in which that is wanted.
    pub(super) fn probe(&mut self, engine: &SimEngine, random: &mut Random, now: u64) {
        let pools = self.table.pools.clone();
        for pool in pools.iter().filter(|pool| pool.probe.is_some()) {
            for release in pool.traffic.iter().map(|share| share.release) {
                let own = pool.backends.iter().filter(|of| of.release == release);
                let Some(asked) = own.map(|of| &of.instance).find(|id| self.healthy(id)) else {
                    continue;
                };
                let errs = engine.errs(asked) && random.chance(20);
                let answers = engine.answers(asked, now);
                let counted = self.counters.entry((pool.name.clone(), release)).or_default();
                counted.probed.requests += 1;
                counted.probed.failed += u64::from(!answers);
                counted.probed.server_errors += u64::from(answers && errs);
            }
        }
    }
}
