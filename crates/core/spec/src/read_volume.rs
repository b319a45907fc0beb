//! Reads `volume` blocks, and what a service says of its volumes.

use hcl_edit::structure::Block;
use hornero_model::{Millis, ServiceKind, VolumeName};

use crate::{
    ErrorCode, Mount, VolumeDefinition, defaults,
    error::Mistake,
    evaluate::Evaluator,
    limits, path,
    read_guard::{self, GuardDraft},
    read_value::shown,
    section::{Section, header, label},
    value::{BlockKind, Span},
};

/// Paths of which a service says that what is written there is no data.
pub(crate) fn not_state(cx: &mut Evaluator, section: &mut Section<'_>) -> Vec<String> {
    let texts = section.texts(cx, "not_state").unwrap_or_default();
    let name = format!("a path in `not_state` of {}", section.what);
    let paths = texts.iter().filter_map(|text| path::in_image(cx, &name, text));
    let mut paths: Vec<String> = paths.collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Volumes and where they appear, and where each mount stands.
pub(crate) fn mounts(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    kind: ServiceKind,
) -> Vec<(Mount, Span)> {
    let mut mounts: Vec<(Mount, Span)> = Vec::new();
    for block in section.take_blocks(cx, "mount", limits::LIST) {
        let path = label(cx, block, "a mount needs a path", "/var/lib/data");
        let span = header(block);
        let shown_path = path.as_ref().map(|path| shown(&path.value)).unwrap_or_default();
        let mut inner = Section::of_block(cx, block, format!("mount `{shown_path}`"));
        let written = inner.has("volume");
        let volume = inner.reference(cx, "volume", BlockKind::Volume);
        if !written {
            inner.missing(cx, "volume", "write `volume = volume.NAME`");
        }
        inner.finish(cx);
        if kind == ServiceKind::Stateless {
            let message = format!("{} is stateless and can't have volumes", section.what);
            cx.report(
                Mistake::new(ErrorCode::Conflict, span.clone(), message)
                    .hint("set `kind = \"stateful\"`"),
            );
        }
        let Some(path) = path.and_then(|path| path::in_image(cx, "a mount", &path)) else {
            continue;
        };
        let lies_in = |path: &str, above: &str| {
            path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
        };
        let nested = |of: &&(Mount, Span)| lies_in(&path, &of.0.path) || lies_in(&of.0.path, &path);
        if let Some((mount, first)) = mounts.iter().find(nested) {
            let message = format!("the mounts `{path}` and `{}` lie in one another", mount.path);
            cx.report(
                Mistake::new(ErrorCode::Conflict, span.clone(), message)
                    .related(first.clone(), "the other is here"),
            );
        }
        if let Some((_, first)) = mounts.iter().find(|(mount, _)| mount.path == path) {
            let message = format!("{} has two mounts at `{path}`", section.what);
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, span.clone(), message)
                    .related(first.clone(), "the first is here"),
            );
        }
        if let Some(volume) = volume.and_then(|volume| VolumeName::new(&*volume.value).ok()) {
            mounts.push((Mount { path, volume }, span));
        }
    }
    mounts.sort_by(|a, b| a.0.path.cmp(&b.0.path));
    mounts
}

/// A volume, and the guards of whoever mounts it.
pub(crate) type VolumeDraft = (VolumeDefinition, Vec<GuardDraft>);

/// Reads a `volume` block whose name was found to be valid.
pub(crate) fn read_volume(cx: &mut Evaluator, block: &Block, name: VolumeName) -> VolumeDraft {
    let mut section = Section::of_block(cx, block, format!("volume `{name}`"));
    if !section.has("size") {
        section.missing(cx, "size", "write `size = \"10GiB\"`");
    }
    let size_bytes = section.size(cx, "size", limits::LEAST_VOLUME_BYTES).unwrap_or_default();
    let prevent_destroy = section.flag(cx, "prevent_destroy").unwrap_or(defaults::PREVENT_DESTROY);
    let guards = read_guard::take(cx, &mut section);
    section.finish(cx);
    (VolumeDefinition { name, size_bytes, prevent_destroy }, guards)
}

/// How old an instance may become. What writes to a volume can't be replaced by another one beside it.
pub(crate) fn max_age(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    holds_volumes: bool,
) -> Option<Millis> {
    let place = section.place("max_age");
    let max_age = section.duration(cx, "max_age", Millis(1_000));
    if holds_volumes && max_age.is_some() {
        let message = format!("{} has a volume, and can't be replaced by age", section.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, place, message)
                .hint("leave `max_age` out: a new server has the volume when the old one is gone"),
        );
    }
    max_age
}

/// How old a proof of going back may be; with a volume there is none but a rollback itself, since a volume has one server.
pub(crate) fn fresh_rollback(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    holds_volumes: bool,
) -> Option<Millis> {
    let place = section.place("require_fresh_rollback");
    let wanted = section.duration(cx, "require_fresh_rollback", Millis(1_000));
    if holds_volumes && wanted.is_some() {
        let message = format!("{} has a volume, and its rollback can't be rehearsed", section.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, place, message)
                .hint("leave `require_fresh_rollback` out: a volume has one server at a time"),
        );
    }
    wanted
}
