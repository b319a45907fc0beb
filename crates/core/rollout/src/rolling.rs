//! The rolling rollout: new servers take the place of old ones batch by batch, and both releases get requests meanwhile.

use std::collections::BTreeSet;

use hornero_model::{ExitCause, InstanceId, InstanceState, Millis, Share, Strategy, Timestamp};

use crate::{
    Facts, Phase, Rolling, RollingStage, Rollout, RolloutFailure, Space, World,
    failing::{start_deadline, start_failure},
    record::{Record, changed, created, new_ids},
    room::leave_allowance,
    switch::{SWITCH_ALLOWANCE, begin_switch, with_old},
    view::View,
};

/// Between two looks for room.
const ROOM_LOOK: Millis = Millis(1_000);

/// How many servers of the new release of a rollout come at a time, where that is batch by batch: because its strategy is to
/// do so, or for want of room.
fn surge(world: &World, rollout: &Rollout) -> Option<u32> {
    let spec = &world.release(&rollout.service, rollout.to_terms())?.spec;
    let declared = match &spec.rollout.strategy {
        Strategy::Rolling(policy) => Some(policy.surge(world.size_of(spec))),
        Strategy::BlueGreen | Strategy::Canary(_) | Strategy::Replace(_) => None,
    };
    let room = rollout.batched.as_ref().map(|batched| batched.at_once);
    room.into_iter().chain(declared).min()
}

/// When time alone moves it on.
pub(crate) fn times(world: &World, facts: &Facts, rollout: &Rollout) -> Vec<Timestamp> {
    let since = rollout.since;
    let deadlines = rollout.set.iter().map(|id| start_deadline(world, facts, id, since));
    // Nobody tells when a host has more memory left.
    let waits = rollout.rolling.as_ref().is_some_and(|of| of.waits);
    let look = waits.then(|| facts.now.after(ROOM_LOOK));
    deadlines.chain([since.after(SWITCH_ALLOWANCE)]).chain(look).collect()
}

/// The shares of two releases by their servers: `new` of the one that comes beside `old` of the one that goes.
fn weight(new: usize, old: u32) -> u32 {
    let (new, all) = (new as u64, new as u64 + u64::from(old));
    let weight = u64::from(Share::WHOLE) * new / all.max(1);
    u32::try_from(weight).unwrap_or(Share::WHOLE).clamp(1, Share::WHOLE)
}

impl Rollout {
    /// The shares at the batch it is at; none where it goes by none.
    pub(crate) fn rolling_traffic(&self) -> Option<Vec<Share>> {
        let weight = self.rolling.as_ref()?.weight;
        let rest = Share::WHOLE.saturating_sub(weight);
        let from = self.from.filter(|_| rest > 0).map(|release| Share { release, weight: rest });
        Some(from.into_iter().chain([Share { release: self.to, weight }]).collect())
    }
}

impl View<'_> {
    /// The rollout as it enters its first batch, whose servers are ready; none where all of them are, or nothing serves.
    pub(crate) fn begin_rolling(&self) -> Option<Rollout> {
        surge(self.world, self.rollout)?;
        let next = with_old(self.rollout, Phase::Rolling, self.world, self.facts);
        next.from_terms()?;
        let old = self.world.serving_size(&next.service);
        self.share_out(next, 0, old)
    }

    /// The rollout as all that is ready of the new set gets its share, with `old` servers beside it by now; none where
    /// nothing is missing any more.
    fn share_out(&self, mut next: Rollout, batch: u32, old: u32) -> Option<Rollout> {
        let missing = self.missing();
        let keep = old.min(u32::try_from(missing).unwrap_or(u32::MAX));
        let weight = weight(next.set.len(), keep);
        let stage = RollingStage::Sharing;
        next.rolling = Some(Rolling { batch, weight, keep, stage, waits: false });
        (missing > 0).then_some(next)
    }

    /// Servers that the new set lacks.
    fn missing(&self) -> usize {
        let wanted = self.spec().map_or(0, |spec| self.world.size_of(spec) as usize);
        wanted.saturating_sub(self.rollout.set.len())
    }

    pub(crate) fn rolling(&self, tail: &mut dyn FnMut() -> String) -> Option<Vec<Record>> {
        let rolling = self.rollout.rolling.as_ref()?;
        let failure = self.halt().or_else(|| self.first(Self::server_failure));
        if let Some(failure) = failure.or_else(|| self.paused_for_too_long()) {
            return Some(self.roll_back(failure));
        }
        match rolling.stage {
            RollingStage::Sharing => self.sharing(rolling, tail),
            RollingStage::Starting if rolling.waits => self.find_room(rolling, tail),
            RollingStage::Starting => self.starting(rolling),
        }
    }

    /// Why a server of the new set is not fit, where it is on its way up or serves already.
    fn server_failure(&self, id: &InstanceId) -> Option<RolloutFailure> {
        let serves = |id| self.world.instances.get(id).map(|of| of.state);
        match serves(id) == Some(InstanceState::Serving) {
            true => self.unfit_to_serve(id),
            false => start_failure(self.world, self.facts, id, self.rollout.since),
        }
    }

    /// Once the edge shares requests out, the old servers that are too many go, and the next ones are started.
    fn sharing(&self, rolling: &Rolling, tail: &mut dyn FnMut() -> String) -> Option<Vec<Record>> {
        let confirmed = self.confirmed().map(|confirmed| confirmed.switch);
        let Some(switch) = confirmed.filter(|_| self.caught_up(confirmed)) else {
            let late = self.facts.now >= self.rollout.since.after(SWITCH_ALLOWANCE);
            let failure = || {
                let share = Share::percent(rolling.weight);
                RolloutFailure::of(format!(
                    "the edge did not give it {share} within {SWITCH_ALLOWANCE}"
                ))
            };
            return late.then(|| self.roll_back(failure()));
        };
        let serving = self.set_states(&self.rollout.set, InstanceState::Serving);
        if self.rollout.paused.is_some() {
            return (!serving.is_empty()).then_some(serving);
        }
        let mut records = serving;
        records.extend(self.retire(rolling.keep as usize));
        let mut next = self.rollout.enter(Phase::Rolling, self.facts.now);
        next.switch = next.switch.or(Some(switch));
        let (batch, stage) = (rolling.batch.saturating_add(1), RollingStage::Starting);
        let waits = self.next_batch() == 0;
        next.rolling = Some(Rolling { batch, stage, waits, ..rolling.clone() });
        records.extend(self.start_batch(next, tail));
        Some(records)
    }

    /// How many servers of the next batch can be started now.
    fn next_batch(&self) -> usize {
        let surge = surge(self.world, self.rollout).unwrap_or(1);
        let space = self.spec().and_then(|spec| Space::of(self.world, self.facts, spec));
        let fits = space.map_or(surge, |space| surge.min(space.holds()));
        self.missing().min(fits as usize)
    }

    /// Starts as many servers of the next batch as there is room for.
    fn start_batch(&self, mut next: Rollout, tail: &mut dyn FnMut() -> String) -> Vec<Record> {
        let Rollout { service, to, by, .. } = self.rollout;
        let fresh = new_ids(self.world, service, *to, self.next_batch(), tail);
        let fresh: BTreeSet<InstanceId> = fresh.into_iter().collect();
        next.set.extend(fresh.iter().cloned());
        let mut records = vec![self.enter(next)];
        records.extend(fresh.into_iter().map(|id| created(by, service, *to, id)));
        records
    }

    /// Once there is room, the servers of a batch that waits for it are started. Those that serve are as many as wanted.
    fn find_room(
        &self,
        rolling: &Rolling,
        tail: &mut dyn FnMut() -> String,
    ) -> Option<Vec<Record>> {
        if self.rollout.paused.is_some() {
            return None;
        }
        if self.next_batch() > 0 {
            let mut next = self.rollout.enter(Phase::Rolling, self.facts.now);
            next.rolling = Some(Rolling { waits: false, ..rolling.clone() });
            return Some(self.start_batch(next, tail));
        }
        let spec = self.spec()?;
        let allowance = leave_allowance(spec.rollout.drain_timeout, spec.stop_grace());
        let space = Space::of(self.world, self.facts, spec)?;
        let failure =
            || RolloutFailure::of(format!("no room came free within {allowance}: {space}"));
        self.lasted(allowance).then(|| self.roll_back(failure()))
    }

    /// The old servers beyond those that are kept get no new requests any more, the unhealthy ones first.
    fn retire(&self, keep: usize) -> Vec<Record> {
        let serving = self.world.services[&self.rollout.service].serving.as_ref();
        let old = serving.into_iter().flat_map(|set| &set.instances);
        let mut old: Vec<_> = old.filter_map(|id| self.world.instances.get(id)).collect();
        old.sort_by_key(|of| (self.facts.healthy(self.world, &of.id), of.since, &of.id));
        let gone = old.len().saturating_sub(keep);
        let stopped =
            |of: &&crate::Instance| changed(&self.rollout.by, of, InstanceState::Stopped, None);
        old.iter().take(gone).map(stopped).collect()
    }

    /// Once all servers of a batch are healthy, they get their share; with the last one the switch begins.
    fn starting(&self, rolling: &Rolling) -> Option<Vec<Record>> {
        let ready = self.rollout.set.iter().all(|id| self.facts.healthy(self.world, id));
        if !ready || self.rollout.paused.is_some() {
            return None;
        }
        let mut records = self.set_states(&self.rollout.set, InstanceState::Ready);
        let next = self.rollout.enter(Phase::Rolling, self.facts.now);
        let next = self.share_out(next, rolling.batch, rolling.keep);
        let switch = || begin_switch(self.rollout, self.world, self.facts);
        records.push(self.enter(next.unwrap_or_else(switch)));
        Some(records)
    }

    /// The old release takes everything back, once its set is whole again.
    fn roll_back(&self, failure: RolloutFailure) -> Vec<Record> {
        let mut rollout = with_old(self.rollout, Phase::Rolling, self.world, self.facts);
        rollout.baseline = self.rollout.baseline;
        rollout.switch = rollout.switch.or_else(|| self.confirmed().map(|of| of.switch));
        let view = View { rollout: &rollout, ..*self };
        // With nothing healthy to go back to all requests reach the new set anyway.
        let stays = !view.any_healthy(&rollout.old) && view.any_healthy(&rollout.set);
        if !stays || failure.cause == Some(ExitCause::HostRestarted) {
            return view.go_back(failure);
        }
        view.stay(failure)
    }
}
