//! The edges of a host besides its first one, and what is remembered of all.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{EdgeName, RouteTable};

use crate::{Random, SimEdge};

/// The edges besides the first one, and what is remembered of all.
#[derive(Debug, Default)]
pub struct Others {
    pub(crate) edges: BTreeMap<EdgeName, SimEdge>,
    /// Where their requests come from, apart from everything else that is drawn.
    pub(crate) random: Option<Random>,
    /// The last version of the status that each told.
    pub(crate) told: BTreeMap<EdgeName, u64>,
    /// When each was out of reach last, and until when; none while it is.
    pub(crate) absences: BTreeMap<EdgeName, (u64, Option<u64>)>,
    /// Which edges have prepared which table. A control that begins anew may give its own the same number.
    pub(crate) prepared: BTreeMap<u64, Vec<(RouteTable, BTreeSet<EdgeName>)>>,
}

impl Others {
    /// One of them; none where it is the first one.
    pub(crate) fn of(&mut self, name: &EdgeName) -> Option<&mut SimEdge> {
        self.edges.get_mut(name)
    }
}
