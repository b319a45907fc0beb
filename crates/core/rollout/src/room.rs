//! Room: how many more servers fit beside those that are there, by the memory that each may take at most.
//!
//! Two bounds count. What all instances of a home may take together is shared out by what each may take, whether it does
//! or not. What the host has left is known by use: there only those count that did not come to serve yet, which is what
//! keeps two rollouts from taking the same room. Both follow from the recorded world, so that a start is reserved by the
//! event that decides it.

use std::fmt;

use hornero_model::{InstanceState, Millis, Room, ServiceName, ServiceSpec};

use crate::planted::{Bug, planted};
use crate::{Facts, Instance, World};

/// How long servers that leave may take beyond their drain and their grace before they are no longer waited for.
const LEAVE_ALLOWANCE: Millis = Millis(60_000);

/// The room that there is for servers of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What more servers can have, in bytes.
    pub free_bytes: u64,
    /// What one of them may take, in bytes.
    pub need_bytes: u64,
    /// What all servers together may take, where that is what leaves so little, in bytes.
    pub limit_bytes: Option<u64>,
}

/// Why a rollout can't begin: what it needs, and what there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no room for {missing} of `{service}`: {space}")]
pub struct NoRoom {
    /// The service.
    pub service: ServiceName,
    /// What there is no room for, in words.
    pub missing: String,
    /// What room there is.
    pub space: Space,
}

impl Space {
    /// The room for servers as `spec` declares them; none where nobody knows it.
    pub fn of(world: &World, facts: &Facts, spec: &ServiceSpec) -> Option<Self> {
        let room = facts.room?;
        let need_bytes = spec.resources.memory_bytes;
        let host = room.available_bytes.saturating_sub(sum(world, facts, |of| comes(world, of)));
        let shared = room.limit_bytes.map(|limit| (limit, by_limit(world, facts, room)));
        Some(match shared {
            Some((limit, free_bytes)) if free_bytes <= host => {
                Self { free_bytes, need_bytes, limit_bytes: Some(limit) }
            }
            Some(_) | None => Self { free_bytes: host, need_bytes, limit_bytes: None },
        })
    }

    /// How many more servers fit.
    pub fn holds(&self) -> u32 {
        if planted(Bug::IgnoresRoom) {
            return u32::MAX;
        }
        let count = self.free_bytes / self.need_bytes.max(1);
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (free, need) = (size(self.free_bytes), size(self.need_bytes));
        match self.limit_bytes {
            Some(limit) => write!(
                f,
                "{free} are left of the {} that all servers of this home may take, and one needs {need}",
                size(limit)
            ),
            None => write!(f, "the host has {free} of memory left, and one needs {need}"),
        }
    }
}

/// Bytes as people write them, rounded down.
fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(GIB) => format!("{}GiB", bytes / GIB),
        _ => format!("{}MiB", bytes / MIB),
    }
}

/// What is left of the limit of all servers, in bytes.
pub(crate) fn by_limit(world: &World, facts: &Facts, room: Room) -> u64 {
    // One-off work has what a server of its release may take, and so has a rehearsal.
    let of_runs = world.runs.values().filter_map(|open| open.run.release.as_ref());
    let releases = of_runs.chain(world.open_rehearsals().map(|run| &run.rehearsal.release));
    let runs = releases.filter_map(|release| {
        Some(world.release(&release.service, release.number)?.spec.resources.memory_bytes)
    });
    let taken = runs.fold(sum(world, facts, |_| true), u64::saturating_add);
    room.limit_bytes.map_or(u64::MAX, |limit| limit.saturating_sub(taken))
}

/// What the instances may take of which the engine may have something, in bytes.
pub(crate) fn sum(world: &World, facts: &Facts, counts: impl Fn(&Instance) -> bool) -> u64 {
    let there = world.instances.values().filter(|of| !is_gone(facts, of) && counts(of));
    let taken = there.filter_map(|of| Some(world.spec_of(&of.id)?.resources.memory_bytes));
    taken.fold(0, u64::saturating_add)
}

/// Whether the engine has nothing left that runs of an instance.
pub(crate) fn is_gone(facts: &Facts, instance: &Instance) -> bool {
    let id = &instance.id;
    !facts.running.contains_key(id)
        && (facts.stopped.contains(id)
            || facts.exited.contains_key(id)
            || facts.removed.contains(id))
}

/// Whether an instance does not serve yet, so that what it uses says nothing of what it will.
fn comes(world: &World, instance: &Instance) -> bool {
    match instance.state {
        InstanceState::Created | InstanceState::Starting | InstanceState::Probing => true,
        InstanceState::Ready => {
            let warm = world.services.get(&instance.service).and_then(|of| of.warm.as_ref());
            !warm.is_some_and(|warm| warm.instances.contains(&instance.id))
        }
        InstanceState::Serving
        | InstanceState::Draining
        | InstanceState::Stopped
        | InstanceState::Failed
        | InstanceState::Archived => false,
    }
}

/// Whether servers fit beside those that serve and stay.
pub fn room_for_more(
    world: &World,
    facts: &Facts,
    spec: &ServiceSpec,
    count: u32,
) -> Result<(), NoRoom> {
    match Space::of(world, facts, spec) {
        Some(space) if space.holds() < count => {
            let missing = format!("{count} more server{}", if count == 1 { "" } else { "s" });
            Err(NoRoom { service: spec.name.clone(), missing, space })
        }
        Some(_) | None => Ok(()),
    }
}

/// How long servers that leave may take.
pub(crate) fn leave_allowance(drain: Millis, grace: Millis) -> Millis {
    Millis(LEAVE_ALLOWANCE.0.saturating_add(drain.0).saturating_add(grace.0))
}

/// A number of servers in words.
pub(crate) fn servers(count: u32) -> String {
    format!("{count} server{}", if count == 1 { "" } else { "s" })
}
