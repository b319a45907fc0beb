//! Route tables on their way to edges, each told by what it changes of the one that the edge confirmed last.

use hornero_driver::{EffectId, Observation};
use hornero_edge::Applied;
use hornero_model::{EdgeRef, RouteTable};

use crate::{input::Input, ports::Adapters};

impl Adapters {
    /// Puts a table in force at an edge, and tells the driver: of the answer at once, and then how the edge is with it,
    /// instead of with the supervisor's next look.
    pub(crate) fn apply(&self, id: EffectId, edge: &EdgeRef, table: &RouteTable, prepared: bool) {
        let tell = |observation| {
            // Control is ending when nobody takes it; the next one finds out for itself.
            let _ = self.inputs.send(Input::Observe(observation));
        };
        let before = self.edges.confirmed(edge);
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
        let is_applied = matches!(seen, Observation::RoutesApplied { .. });
        if is_applied {
            self.edges.confirms(edge, table);
        }
        tell(seen);
        if !is_applied {
            return;
        }
        let status = self.at_edge(id, edge, |client| {
            let (edge, status) = (edge.clone(), client.status()?);
            Ok(Observation::EdgeStatus { edge, status })
        });
        if let status @ Observation::EdgeStatus { .. } = status {
            tell(status);
        }
    }
}
