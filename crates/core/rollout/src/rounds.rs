//! How a table comes to the edges of a region: prepared at all of them, and only then put in force, so that one that refuses
//! it leaves all of them as they are. Once it is in force at one of them it only goes forward: the others follow, or all of
//! them get a newer one.

use hornero_model::{EdgeName, RouteTable};

use crate::planted::{Bug, planted};
use crate::{Effect, Facts, KnownEdge};

/// What the edges are to be asked so that they follow `table`. Where only one counts, it is asked to prepare it and put it in
/// force at once: there is nobody to wait for in between.
pub(crate) fn next(facts: &Facts, table: RouteTable) -> Vec<Effect> {
    let counting = facts.counting(facts.now);
    if let [(name, _)] = counting[..] {
        let edge = facts.edge_ref(name);
        return vec![Effect::ApplyRoutes { edge, table: Box::new(table), prepared: false }];
    }
    let begun = facts.proposed.as_ref().filter(|begun| begun.says_same(&table));
    let table = begun.filter(|begun| facts.is_newest(begun)).cloned().unwrap_or(table);
    let number = table.generation;
    let (ready, lacking): (Vec<_>, Vec<_>) =
        counting.into_iter().partition(|(_, edge)| edge.is_ready_for(number));
    let prepare = |(name, _): (&EdgeName, &KnownEdge)| Effect::PrepareRoutes {
        edge: facts.edge_ref(name),
        table: Box::new(table.clone()),
    };
    let commit = |(name, _): (&EdgeName, &KnownEdge)| Effect::ApplyRoutes {
        edge: facts.edge_ref(name),
        table: Box::new(table.clone()),
        prepared: true,
    };
    let mut effects: Vec<Effect> = lacking.into_iter().map(prepare).collect();
    if effects.is_empty() || planted(Bug::CommitsBeforeAllPrepared) {
        let late = ready.into_iter().filter(|(_, edge)| !edge.follows(number));
        effects.extend(late.map(commit));
    }
    effects
}
