//! What declaring jobs would change.

use hornero_model::{Digest, Directory, Job};
use hornero_rollout::{DeclaredJob, World};

use crate::{Action, Change, Foreign, ObjectKind, differences};

/// What it would change that `directory` declares `jobs` and no others, and which of them belong to another directory.
/// The image digest of a job whose image is still to be baked is zeros.
pub fn job_changes(
    directory: &Directory,
    jobs: &[Job],
    world: &World,
) -> (Vec<Change>, Vec<Foreign>) {
    let change = |object: &str, action, reason| Change {
        kind: ObjectKind::Job,
        object: object.to_owned(),
        action,
        reason,
        renamed: None,
    };
    let mut changes = Vec::new();
    let mut foreign = Vec::new();
    for job in jobs {
        let Some(known) = world.jobs.get(&job.name) else {
            let reason = "it does not exist yet".to_owned();
            changes.push(change(job.name.as_str(), Action::Create, reason));
            continue;
        };
        let mut reasons = job_differences(&known.job, job);
        if known.directory != *directory {
            let reason = format!("`{}` declares a job of that name", known.directory);
            let service = job.name.to_string();
            foreign.push(Foreign { service, reason, directory: known.directory.clone() });
            reasons.push(format!("it belonged to `{}`", known.directory));
        }
        if !reasons.is_empty() {
            changes.push(change(job.name.as_str(), Action::Adjust, reasons.join(", ")));
        }
    }
    let is_gone = |known: &&DeclaredJob| {
        known.directory == *directory && !jobs.iter().any(|job| job.name == known.job.name)
    };
    for known in world.jobs.values().filter(is_gone) {
        let reason = "it is no longer declared".to_owned();
        changes.push(change(known.job.name.as_str(), Action::Remove, reason));
    }
    (changes, foreign)
}

/// What differs, in the words of `hornero.hcl`.
fn job_differences(from: &Job, to: &Job) -> Vec<String> {
    let to_bake = to.server.image == Digest::from_bytes([0; 32]);
    let mut reasons = differences(&from.server, &to.server);
    if to_bake {
        reasons.retain(|reason| !reason.starts_with("image "));
        reasons.insert(0, format!("image `{}` is to be baked", to.server.image_name));
    }
    let own = [
        ("command", from.command != to.command),
        ("schedule", from.schedule != to.schedule),
        ("deadline", from.deadline != to.deadline),
        ("retries", from.retries != to.retries),
    ];
    let changed = own.into_iter().filter(|(_, is_other)| *is_other);
    reasons.extend(changed.map(|(key, _)| format!("`{key}` changed")));
    reasons
}
