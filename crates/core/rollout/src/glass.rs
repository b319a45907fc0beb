//! Servers that somebody has been in: they are replaced, since nobody knows any more what they are.
//!
//! Such a server is recycled: when the session has ended, when its time is up whatever became of it, or at once where it is to get
//! no requests meanwhile. While somebody is in it, it is not ended, but where its service or a rollout in place needs that.

use std::collections::BTreeMap;

use hornero_model::{
    Actor, Event, EventBody, GlassEnd, GlassEndReason, GlassId, GlassSession, InstanceId,
    InstanceState, ServiceName, Timestamp,
};

use crate::{
    Facts, GlassMark, Instance, KnownSession, ServingSet, World, quarantine, record::Record,
};

/// Sessions that have ended and are remembered; the ledger has all of them.
const REMEMBERED: usize = 200;

/// Takes in what the ledger says of sessions.
pub(crate) fn fold(world: &mut World, event: &Event) {
    match &event.body {
        EventBody::GlassBroken { session } => broken(world, session, &event.by, event.time),
        EventBody::GlassMended { end } => mended(world, end, event.time),
        _ => {}
    }
}

/// Takes in that somebody enters a server. Whether they may was looked at before that was recorded: what stands in the ledger is
/// never refused, since nothing could be replayed any more. A session in a server that is gone, or that somebody is in already,
/// is known until its own end, and the server keeps the mark of the first.
pub(crate) fn broken(world: &mut World, session: &GlassSession, by: &Actor, since: Timestamp) {
    if world.glass.contains_key(&session.id) {
        return;
    }
    let known = KnownSession { session: session.clone(), by: by.clone(), since, end: None };
    world.glass.insert(session.id.clone(), known);
    let Some(instance) = world.instances.get_mut(&session.instance) else { return };
    if let Some(first) = instance.touched.as_mut().filter(|touched| touched.is_open) {
        // However the first ends, nobody knows what this one did.
        first.was_in = true;
        return;
    }
    let before = instance.touched.as_ref();
    let leaves = session.leaves || before.is_some_and(|before| before.leaves);
    // One that was not in it is no mark.
    let was_in = before.is_some();
    instance.touched = Some(GlassMark {
        session: session.id.clone(),
        by: by.clone(),
        until: session.until,
        is_open: true,
        leaves,
        was_in,
    });
    let name = instance.service.clone();
    if let Some(service) = world.services.get_mut(&name) {
        // What a person does has what follows from it tried at once.
        (service.recycle_failures, service.last_recycle_failure) = (0, None);
    }
}

/// Takes in that nobody is in a server any longer; nothing where no such session goes on.
pub(crate) fn mended(world: &mut World, end: &GlassEnd, at: Timestamp) {
    let open = world.glass.get_mut(&end.id).filter(|known| known.end.is_none());
    let Some(known) = open else { return };
    known.end = Some((end.clone(), at));
    if let Some(instance) = world.instances.get_mut(&end.instance)
        && let Some(touched) = instance.touched.as_mut().filter(|of| of.session == end.id)
    {
        touched.is_open = false;
        // Nothing of it was ever in there; whoever was before counts on.
        if !was_in(end) && !touched.was_in {
            instance.touched = None;
        }
    }
    forget(&mut world.glass);
}

fn was_in(end: &GlassEnd) -> bool {
    end.reason != GlassEndReason::NotEntered
}

/// Forgets the oldest of those that have ended.
fn forget(sessions: &mut BTreeMap<GlassId, KnownSession>) {
    let ended = sessions.values().filter(|known| known.end.is_some());
    let mut ended: Vec<(Timestamp, GlassId)> =
        ended.map(|known| (known.since, known.session.id.clone())).collect();
    ended.sort();
    let over = ended.len().saturating_sub(REMEMBERED);
    for (_, id) in ended.into_iter().take(over) {
        sessions.remove(&id);
    }
}

/// That servers of a set are to be replaced that somebody was in; none where none is, or all are marked.
pub(crate) fn replace(
    world: &World,
    facts: &Facts,
    name: &ServiceName,
    set: &ServingSet,
) -> Option<Record> {
    let instances = set.instances.iter().filter_map(|id| world.instances.get(id));
    let mut due = instances.filter_map(|instance| {
        let touched = instance.touched.as_ref()?;
        let is_due = touched.leaves || !touched.is_open || facts.now >= touched.until;
        let is_unmarked = instance.state == InstanceState::Serving && instance.recycle.is_none();
        (is_due && is_unmarked).then_some((&instance.id, touched))
    });
    let (id, touched) = due.next()?;
    let why = format!("somebody broke its glass ({}): {}", touched.session, touched.by.why);
    let by = Actor { why, ..touched.by.clone() };
    let body = EventBody::RecycleSet { service: name.clone(), instances: vec![id.clone()] };
    Some(Record::Event(by, body))
}

/// Whether somebody is in a server that is no longer needed, and has time left.
pub(crate) fn holds(world: &World, facts: &Facts, instance: &Instance) -> bool {
    is_entered(facts, instance) && !quarantine::goes(world, facts, instance)
}

/// Whether somebody is in a server, and has time left.
pub(crate) fn is_entered(facts: &Facts, instance: &Instance) -> bool {
    let touched = instance.touched.as_ref();
    touched.is_some_and(|touched| touched.is_open && facts.now < touched.until)
        && facts.running.contains_key(&instance.id)
}

/// When the time of sessions in servers of a service is up.
pub(crate) fn times(world: &World, service: &ServiceName) -> impl Iterator<Item = Timestamp> {
    world.instances.of(service).filter_map(|of| Some(of.touched.as_ref()?.until))
}

impl World {
    /// The server that somebody is in by a session that goes on.
    pub fn entered(&self, instance: &InstanceId) -> Option<&KnownSession> {
        let touched = self.instances.get(instance)?.touched.as_ref()?;
        self.glass.get(&touched.session).filter(|known| known.end.is_none())
    }

    /// Sessions that go on, by what was recorded.
    pub fn open_glass(&self) -> impl Iterator<Item = &KnownSession> {
        self.glass.values().filter(|known| known.end.is_none())
    }
}
