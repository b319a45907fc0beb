//! Who may connect: how many connections a source and a listener may hold, and what is counted of those that may not.
//!
//! Listeners for the outside and those for the home's own servers have rooms of their own, so that neither fills the
//! other's. In a room each listener has a reserve that no other can take, and no source can hold more than a share. A
//! connection beyond a limit takes the place of the oldest one on which no request is under way; where there is none,
//! it is refused.

use std::sync::atomic::Ordering::Relaxed;

use hornero_model::ListenerLimits;

use crate::{
    room::{Fit, Place, fit},
    slot::Slot,
    slots::Slots,
    source::Source,
    spare::Scope,
};

/// Whether one of `scope` has been given up for a connection more, or is now; none where that one is refused.
fn make_room(slots: &Slots, fits: Fit, scope: Scope, is_made: bool) -> Option<bool> {
    match fits {
        Fit::Within => Some(is_made),
        Fit::Beyond => (is_made || slots.give_up_oldest(scope)).then_some(true),
        Fit::Refused => None,
    }
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Its source has too many, each with a request under way.
    Source,
    /// There are too many in all, each with a request under way.
    Full,
}

/// A client connection among all; leaving counts it out.
#[derive(Debug)]
pub(crate) struct Admission {
    place: Place,
    /// What its listener allowed when it came.
    limits: ListenerLimits,
}

/// How many connections a source had before one more.
struct OfSource {
    room: usize,
    /// Where the listener has a limit for it.
    listener: Option<usize>,
}

/// For whom one was given up.
struct Freed {
    room: bool,
    listener: bool,
}

impl Admission {
    /// Counts a connection in. Where there are too many, an older one on which no request is under way is given up: of the
    /// narrowest group that has too many, which makes room in the wider ones as well.
    pub(crate) fn new(
        slots: &Slots,
        slot: &Slot,
        place: Place,
        limits: ListenerLimits,
    ) -> Result<Self, Refused> {
        let admission = Self { place, limits };
        let of_source = admission.enter_source();
        let (here, shared) = admission.place.gauge.enter();
        let freed = admission.judge_source(slots, &of_source)?;
        let gauge = &admission.place.gauge;
        let room = &gauge.room;
        let full = || {
            room.refused.fetch_add(1, Relaxed);
            Refused::Full
        };
        let limit = limits.connections.map_or(usize::MAX, |limit| limit as usize);
        let fits = fit(here, limit, room.slack);
        let scope = Scope::Listener(gauge.address());
        let freed_here = make_room(slots, fits, scope, freed.listener).ok_or_else(full)?;
        let shared_limit = room.shared_limit.load(Relaxed);
        let fits = shared.map_or(Fit::Within, |before| fit(before, shared_limit, room.slack));
        let is_made = freed.room || freed_here;
        make_room(slots, fits, Scope::Room(room.kind), is_made).ok_or_else(full)?;
        slot.set_place(&admission.place);
        Ok(admission)
    }

    /// Counts the connection by another source from now on: that of the client whom a proxy speaks for.
    pub(crate) fn attribute(
        &self,
        slots: &Slots,
        slot: &Slot,
        source: Source,
    ) -> Result<(), Refused> {
        self.leave_source();
        self.place.source.set(source);
        let of_source = self.enter_source();
        self.judge_source(slots, &of_source)?;
        slot.set_place(&self.place);
        Ok(())
    }

    fn enter_source(&self) -> OfSource {
        let Place { source, gauge } = &self.place;
        let is_limited = self.limits.connections_per_source.is_some();
        OfSource {
            room: gauge.room.sources.enter(source.get()),
            listener: is_limited.then(|| gauge.sources().enter(source.get())),
        }
    }

    fn leave_source(&self) {
        let Place { source, gauge } = &self.place;
        gauge.room.sources.leave(source.get());
        if self.limits.connections_per_source.is_some() {
            gauge.sources().leave(source.get());
        }
    }

    /// Whether an older connection of the source had to go.
    fn judge_source(&self, slots: &Slots, before: &OfSource) -> Result<Freed, Refused> {
        let Place { source, gauge } = &self.place;
        let (source, room) = (source.get(), &gauge.room);
        let full = || {
            room.refused_by_source.fetch_add(1, Relaxed);
            Refused::Source
        };
        let listener = match (before.listener, self.limits.connections_per_source) {
            (Some(before), Some(limit)) => {
                let fits = fit(before, limit as usize, room.slack);
                let scope = Scope::SourceOf(gauge.address(), source);
                make_room(slots, fits, scope, false).ok_or_else(full)?
            }
            (_, _) => false,
        };
        let fits = fit(before.room, room.source_limit, room.slack);
        let scope = Scope::Source(room.kind, source);
        let room = make_room(slots, fits, scope, listener).ok_or_else(full)?;
        Ok(Freed { room, listener })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.leave_source();
        self.place.gauge.leave();
    }
}
