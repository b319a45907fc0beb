//! Sessions in servers, as they are shown.

use std::path::Path;

use hornero_api::message::GlassStatus;
use hornero_forensics::{RecordingFault, Recordings, SessionRecord};
use hornero_model::{Actor, GlassEnd, GlassId, GlassSession, Timestamp};
use hornero_rollout::{KnownSession, World};

/// Those of a home where no control process runs.
///
/// # Errors
/// Where its ledger can't be read.
pub fn glass_offline(home: &Path) -> anyhow::Result<Vec<GlassStatus>> {
    Ok(shown(&crate::offline::world(home)?))
}

/// What was recorded of a session, if it is what the ledger has; none where there was no such session.
///
/// # Errors
/// Where the ledger can't be read.
pub fn recording_offline(
    home: &Path,
    id: &GlassId,
) -> anyhow::Result<Option<Result<SessionRecord, RecordingFault>>> {
    let world = crate::offline::world(home)?;
    let Some(known) = world.glass.get(id) else { return Ok(None) };
    let recordings = Recordings::of(home);
    Ok(Some(match &known.end {
        None => recordings.read(id, None),
        Some((GlassEnd { recording: Some(last), .. }, _)) => recordings.read(id, Some(last)),
        // When it was looked for it was gone, or changed.
        Some((GlassEnd { recording: None, .. }, _)) => {
            recordings.read(id, None).and(Err(RecordingFault::OtherEnd(id.clone())))
        }
    }))
}

/// All that are known, the newest first.
pub fn shown(world: &World) -> Vec<GlassStatus> {
    let mut all: Vec<GlassStatus> = world.glass.values().map(|known| of(world, known)).collect();
    all.sort_by(|a, b| (b.since, &b.session).cmp(&(a.since, &a.session)));
    all
}

/// The last session of each server that is there still.
pub fn touched(world: &World) -> Vec<GlassStatus> {
    let instances = world.instances.values();
    let touched = instances.filter_map(|instance| instance.touched.as_ref());
    let known = touched.filter_map(|touched| world.glass.get(&touched.session));
    known.map(|known| of(world, known)).collect()
}

fn of(world: &World, known: &KnownSession) -> GlassStatus {
    let runs = world.instances.contains_key(&known.session.instance);
    status(&known.session, &known.by, known.since, known.end.as_ref(), runs)
}

/// One.
pub fn status(
    session: &GlassSession,
    by: &Actor,
    since: Timestamp,
    end: Option<&(GlassEnd, Timestamp)>,
    server_runs: bool,
) -> GlassStatus {
    GlassStatus {
        session: session.id.clone(),
        instance: session.instance.clone(),
        service: session.service.clone(),
        release: session.release,
        command: session.command.clone(),
        terminal: session.terminal,
        who: by.who.clone(),
        why: by.why.clone(),
        since,
        until: session.until,
        leaves: session.leaves,
        server_runs,
        end: end.map(|(end, _)| end.clone()),
        ended: end.map(|(_, at)| *at),
    }
}
