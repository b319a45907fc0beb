//! Route tables on their way to edges, each told by what it changes of the one that the edge confirmed last.

use std::{
    collections::BTreeMap,
    sync::{MutexGuard, PoisonError},
};

use hornero_driver::{EffectId, Observation};
use hornero_edge::{Applied, EdgeClient};
use hornero_model::{EdgeRef, RouteTable};

use crate::{input::Input, ports::Adapters};

impl Adapters {
    /// Puts a table in force at an edge.
    pub(crate) fn apply(
        &self,
        id: EffectId,
        edge: &EdgeRef,
        table: &RouteTable,
        prepared: bool,
    ) -> Observation {
        let before = self.confirmed().get(edge).cloned();
        let seen = self.at_edge(id, edge, |client| {
            let applied = match &before {
                _ if prepared => client.commit(table)?,
                Some(before) => client.apply_after(before, table)?,
                None => client.apply(table)?,
            };
            let Applied { generation, switch_ms, counters } = applied;
            let edge = edge.clone();
            Ok(Observation::RoutesApplied { edge, generation, switch_ms, counters })
        });
        if let Observation::RoutesApplied { .. } = seen {
            self.confirmed().insert(edge.clone(), table.clone());
            // The status that reads it back follows at once instead of with the supervisor's next look.
            self.read_back(edge);
        }
        seen
    }

    fn confirmed(&self) -> MutexGuard<'_, BTreeMap<EdgeRef, RouteTable>> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_back(&self, edge: &EdgeRef) {
        let Some(dir) = self.edge_dirs.get(edge) else { return };
        if let Ok(status) = EdgeClient::new(dir).status() {
            let edge = edge.clone();
            let _ = self.inputs.send(Input::Observe(Observation::EdgeStatus { edge, status }));
        }
    }
}
