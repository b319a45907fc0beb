//! Checks across blocks: ancestry of images, dependencies of services, routes that clash, volumes with two users.

use std::{collections::BTreeMap, net::IpAddr};

use hornero_model::{
    ImageConfig, ImageName, JobName, KeyName, Protocol, PublicKey, Route, ServiceName, TrustedKey,
    VolumeName,
};

use crate::{
    Base, ErrorCode, ImageDefinition, JobDefinition, ServiceDefinition,
    error::Mistake,
    evaluate::Evaluator,
    order, path,
    read_guard::{self, GuardDraft, GuardedService},
    read_image::ImageDraft,
    read_job::{self, JobDraft},
    read_service::ServiceDraft,
    value::Span,
};

/// Reports cycles among images, and gives every image what it inherits.
pub(crate) fn images(
    cx: &mut Evaluator,
    drafts: BTreeMap<ImageName, ImageDraft>,
) -> BTreeMap<ImageName, ImageDefinition> {
    let edges: BTreeMap<&ImageName, Vec<&ImageName>> = drafts
        .iter()
        .map(|(name, draft)| (name, draft.base.image().into_iter().collect()))
        .collect();
    let cycles = order::cycles(&edges);
    for cycle in &cycles {
        let draft = &drafts[cycle[0]];
        let span = draft.from_span.clone().unwrap_or_else(|| draft.span.clone());
        let message = match cycle.as_slice() {
            [only] => format!("image `{only}` is made from itself"),
            _ => format!("image `{}` is its own ancestor: {}", cycle[0], chain(cycle, "image")),
        };
        cx.report(
            Mistake::new(ErrorCode::Cycle, span, message)
                .hint("one of them must be made on a Debian suite"),
        );
    }
    if !cycles.is_empty() {
        return BTreeMap::new();
    }
    packages_on_stored(cx, &drafts);
    inherit(drafts)
}

/// Reports packages of images that come from the store in the end: there is no archive to take them from.
fn packages_on_stored(cx: &mut Evaluator, drafts: &BTreeMap<ImageName, ImageDraft>) {
    for draft in drafts.values().filter(|it| !it.packages.is_empty() || !it.archives.is_empty()) {
        let mut root = draft;
        // There is no cycle.
        while let Some(parent) = root.base.image().and_then(|base| drafts.get(base)) {
            root = parent;
        }
        let Base::Stored(stored) = &root.base else { continue };
        let key = if draft.packages.is_empty() { "archive" } else { "packages" };
        let message = format!(
            "image `{}` can't have `{key}`: it is made on `{stored}`, an image of the store without an archive",
            draft.name
        );
        cx.report(
            Mistake::new(ErrorCode::Conflict, draft.packages_span.clone(), message).hint(
                "make it on a Debian suite, or install them by `provision \"shell\"` with the image's own tools",
            ),
        );
    }
}

fn chain<T: std::fmt::Display>(cycle: &[&T], kind: &str) -> String {
    let names: Vec<String> =
        cycle.iter().chain(&cycle[..1]).map(|name| format!("`{kind}.{name}`")).collect();
    names.join(" → ")
}

/// Fills what blocks leave out from the images they are made from; there is no cycle among them.
fn inherit(mut drafts: BTreeMap<ImageName, ImageDraft>) -> BTreeMap<ImageName, ImageDefinition> {
    let mut done: BTreeMap<ImageName, ImageDefinition> = BTreeMap::new();
    while !drafts.is_empty() {
        let ready: Vec<ImageName> = drafts
            .values()
            .filter(|draft| match &draft.base {
                // A base that could not be read has been reported: there is nothing to inherit.
                Base::Image(base) => !drafts.contains_key(base),
                Base::Debian { .. } | Base::Stored(_) => true,
            })
            .map(|draft| draft.name.clone())
            .collect();
        for name in ready {
            let Some(draft) = drafts.remove(&name) else { continue };
            let base = draft.base.image().and_then(|base| done.get(base));
            let base = base.map(|base| base.config.clone()).unwrap_or_default();
            done.insert(name, complete(draft, &base));
        }
    }
    done
}

fn complete(draft: ImageDraft, base: &ImageConfig) -> ImageDefinition {
    let own = ImageConfig {
        user: draft.user.unwrap_or_default(),
        command: draft.command.unwrap_or_default(),
        env: draft.env,
        workdir: draft.workdir.unwrap_or_default(),
        scratch: draft.scratch,
        tests: draft.tests,
    };
    ImageDefinition {
        config: own.on(base),
        name: draft.name,
        base: draft.base,
        archives: draft.archives,
        packages: draft.packages,
        copies: draft.copies,
        provisions: draft.provisions,
        secrets: draft.secrets,
        run: draft.run,
        network: draft.network,
        max_size_bytes: draft.max_size_bytes,
    }
}

/// Whether an image comes from the store in the end: then not all of its configuration is known yet.
fn is_on_stored<'a>(
    mut image: &'a ImageDefinition,
    images: &'a BTreeMap<ImageName, ImageDefinition>,
) -> bool {
    while let Some(parent) = image.base.image().and_then(|base| images.get(base)) {
        image = parent;
    }
    matches!(image.base, Base::Stored(_))
}

/// Checks jobs against each other and their images.
pub(crate) fn jobs(
    cx: &mut Evaluator,
    mut drafts: Vec<JobDraft>,
    images: &BTreeMap<ImageName, ImageDefinition>,
    trust: &BTreeMap<KeyName, PublicKey>,
) -> BTreeMap<JobName, JobDefinition> {
    for draft in &mut drafts {
        draft.definition.server.trust = trusted(trust);
    }
    let has_command =
        |image: &ImageDefinition| !image.config.command.is_empty() || is_on_stored(image, images);
    read_job::settle(cx, drafts, images, has_command)
}

/// The keys of the file, as each service carries them.
fn trusted(trust: &BTreeMap<KeyName, PublicKey>) -> Vec<TrustedKey> {
    let one =
        |(name, key): (&KeyName, &PublicKey)| TrustedKey { name: name.clone(), public_key: *key };
    trust.iter().map(one).collect()
}

/// Checks services against each other and their images.
pub(crate) fn services(
    cx: &mut Evaluator,
    mut drafts: Vec<ServiceDraft>,
    images: &BTreeMap<ImageName, ImageDefinition>,
    (trust, of_volumes): (&BTreeMap<KeyName, PublicKey>, &BTreeMap<VolumeName, Vec<GuardDraft>>),
) -> BTreeMap<ServiceName, ServiceDefinition> {
    for draft in &mut drafts {
        draft.definition.trust = trusted(trust);
        guards(cx, draft, of_volumes);
    }
    for draft in &drafts {
        let Some(image) = images.get(&draft.definition.image) else { continue };
        if image.config.command.is_empty() && !is_on_stored(image, images) {
            let message = format!(
                "service `{}` can't run image `{}`, which has no command",
                draft.definition.name, image.name
            );
            cx.report(
                Mistake::new(ErrorCode::MissingKey, draft.image_span.clone(), message)
                    .hint("set `command` in the image, or in the one it is made from"),
            );
        }
        scratch_under_mounts(cx, draft, image);
        configuration_over_scratch(cx, draft, image);
    }
    dependencies(cx, &drafts);
    route_clashes(cx, &drafts);
    volumes(cx, &drafts);
    drafts.into_iter().map(|draft| (draft.definition.name.clone(), draft.definition)).collect()
}

/// Gives a service its guards, and those of the volumes that it mounts.
fn guards(
    cx: &mut Evaluator,
    draft: &mut ServiceDraft,
    of_volumes: &BTreeMap<VolumeName, Vec<GuardDraft>>,
) {
    let mut guards = std::mem::take(&mut draft.guards);
    let mounts = draft.definition.mounts.iter();
    guards.extend(mounts.filter_map(|mount| of_volumes.get(&mount.volume)).flatten().cloned());
    let definition = &draft.definition;
    let service = GuardedService {
        what: &format!("service `{}`", definition.name),
        ports: &definition.ports,
        secrets: &definition.secrets,
    };
    let guards = read_guard::settle(cx, guards, &service);
    draft.definition.guards = guards;
}

fn scratch_under_mounts(cx: &mut Evaluator, draft: &ServiceDraft, image: &ImageDefinition) {
    for (mount, span) in draft.definition.mounts.iter().zip(&draft.mount_spans) {
        let lies_in =
            |above: &str| mount.path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'));
        let mut scratch = image.config.scratch.iter();
        if let Some(above) = scratch.find(|scratch| lies_in(&scratch.path)) {
            let message =
                format!("mount `{}` lies in `{}`, scratch of the image", mount.path, above.path);
            cx.report(
                Mistake::new(ErrorCode::Conflict, span.clone(), message)
                    .hint("take one of them out: a volume is no part of what is forgotten"),
            );
        }
        if image.config.scratch.iter().any(|scratch| scratch.path == mount.path) {
            let message = format!("`{}` is both a mount and scratch of the image", mount.path);
            cx.report(
                Mistake::new(ErrorCode::Conflict, span.clone(), message)
                    .hint("take it out of `scratch`: what is scratch is lost with the instance"),
            );
        }
    }
}

/// A file can lie in a writable directory, but not take its place.
fn configuration_over_scratch(cx: &mut Evaluator, draft: &ServiceDraft, image: &ImageDefinition) {
    let definition = &draft.definition;
    let files = definition.config.iter().map(|file| &file.path);
    let paths = files.chain(definition.secrets.iter().map(|secret| &secret.path));
    for (path, span) in paths.zip(&draft.config_spans) {
        let scratch = image.config.scratch.iter().map(|scratch| &scratch.path);
        let mut directories = scratch.chain(definition.mounts.iter().map(|mount| &mount.path));
        if let Some(directory) = directories.find(|directory| path::below(directory, path)) {
            let message = format!("`{}` is a file, and `{directory}` a writable directory", path);
            cx.report(
                Mistake::new(ErrorCode::Conflict, span.clone(), message)
                    .hint("give the file a path of its own"),
            );
        }
    }
}

fn dependencies(cx: &mut Evaluator, drafts: &[ServiceDraft]) {
    let edges: BTreeMap<&ServiceName, Vec<&ServiceName>> = drafts
        .iter()
        .map(|draft| (&draft.definition.name, draft.definition.depends_on.iter().collect()))
        .collect();
    for cycle in order::cycles(&edges) {
        let first = drafts.iter().find(|draft| draft.definition.name == *cycle[0]);
        let span = first.map(|draft| draft.depends_on_span.clone()).unwrap_or_default();
        let message =
            format!("service `{}` depends on itself: {}", cycle[0], chain(&cycle, "service"));
        cx.report(Mistake::new(ErrorCode::Cycle, span, message).hint(
            "services that call each other need no `depends_on`: it only orders their start",
        ));
    }
}

/// A route of some service.
struct Placed<'a> {
    service: &'a ServiceName,
    route: &'a Route,
    span: &'a Span,
}

fn route_clashes(cx: &mut Evaluator, drafts: &[ServiceDraft]) {
    let mut by_port: BTreeMap<u16, Vec<Placed<'_>>> = BTreeMap::new();
    for draft in drafts {
        for (route, span) in draft.definition.routes.iter().zip(&draft.route_spans) {
            let placed = Placed { service: &draft.definition.name, route, span };
            by_port.entry(route.listen).or_default().push(placed);
        }
    }
    for routes in by_port.values_mut() {
        routes.sort_by_key(|placed| placed.span.start);
        for (index, later) in routes.iter().enumerate() {
            // Only the first clash of each route: the rest follow from it.
            let clash = routes[..index]
                .iter()
                .find_map(|earlier| clash(earlier.route, later.route).map(|why| (earlier, why)));
            if let Some((earlier, why)) = clash {
                let message = format!(
                    "the routes of `{}` and `{}` on port {} clash: {why}",
                    earlier.service, later.service, later.route.listen
                );
                cx.report(
                    Mistake::new(ErrorCode::PortClash, later.span.clone(), message)
                        .related(earlier.span.clone(), "the other route")
                        .hint(
                            "give one of them another `listen`, or HTTP routes a different `host` or `path_prefix`",
                        ),
                );
            }
        }
    }
}

/// Why two routes on one port can't both be.
fn clash(a: &Route, b: &Route) -> Option<&'static str> {
    if a.address != b.address {
        let overlap = covers(a.address, b.address) || covers(b.address, a.address);
        return overlap.then_some("one listens on every address, the other on one of them");
    }
    if a.protocol != b.protocol {
        return Some("one speaks HTTP, the other TCP");
    }
    if a.protocol == Protocol::Tcp {
        return Some("a TCP port has one route");
    }
    if a.tls.is_some() != b.tls.is_some() {
        return Some("one has `tls`, the other has not");
    }
    if a.trusted_proxies != b.trusted_proxies {
        return Some("they differ in `trusted_proxies`");
    }
    if a.proxy_protocol != b.proxy_protocol {
        return Some("they differ in `proxy_protocol`");
    }
    if a.limits != b.limits {
        return Some("they differ in `limits`");
    }
    if a.host == b.host && a.tls != b.tls {
        return Some("they have the same `host` and differ in `tls`");
    }
    // A prefix of `/` is every path.
    let prefix = |route: &Route| {
        let path = route.path_prefix.as_deref().unwrap_or("/").trim_end_matches('/');
        path.to_owned()
    };
    (a.host == b.host && prefix(a) == prefix(b)).then_some("both take the same requests")
}

/// Whether listening on `a` takes up `b` as well.
fn covers(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    match (a, b) {
        (None, _) => true,
        // An IPv6 socket on every address takes up those of IPv4 too.
        (Some(IpAddr::V6(a)), _) => a.is_unspecified(),
        (Some(IpAddr::V4(a)), Some(IpAddr::V4(_))) => a.is_unspecified(),
        (Some(IpAddr::V4(_)), _) => false,
    }
}

fn volumes(cx: &mut Evaluator, drafts: &[ServiceDraft]) {
    let mut users: BTreeMap<&VolumeName, &Span> = BTreeMap::new();
    for draft in drafts {
        let definition = &draft.definition;
        if let (Some(span), true) = (draft.mount_spans.first(), definition.instances > 1) {
            let message = format!(
                "service `{}` has a volume and {} instances, but a volume has one writer",
                definition.name, definition.instances
            );
            cx.report(
                Mistake::new(ErrorCode::Conflict, span.clone(), message)
                    .hint("set `instances = 1`"),
            );
        }
        for (mount, span) in definition.mounts.iter().zip(&draft.mount_spans) {
            if let Some(first) = users.insert(&mount.volume, span) {
                let message = format!("volume `{}` is mounted twice", mount.volume);
                cx.report(
                    Mistake::new(ErrorCode::Conflict, span.clone(), message)
                        .related(first.clone(), "first mounted here")
                        .hint("a volume has one writer: declare a second one"),
                );
            }
        }
    }
}
