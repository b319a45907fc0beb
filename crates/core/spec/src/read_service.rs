//! Reads `service` blocks.

use hcl_edit::structure::Block;
use hornero_model::{
    Check, HealthContract, ImageName, Keep, Millis, Port, PortName, Protocol, Resources, Route,
    Scale, ServiceKind, ServiceName, StopSignal, TcpCheck,
};

use crate::{
    ConfigDefinition, ErrorCode, SecretDefinition, ServiceDefinition, Sources, defaults,
    error::Mistake,
    evaluate::Evaluator,
    limits, read_budget,
    read_check::{self, NamedPorts},
    read_configuration,
    read_guard::{self, GuardDraft},
    read_metrics, read_migrate,
    read_port::{PortDraft, ports},
    read_rollout,
    read_route::{self, RouteDraft},
    read_scale::{self, Scaled},
    read_value::{reference, wrong_type},
    read_volume,
    read_word::word,
    section::{Section, Text},
    value::{BlockKind, Span, Value, number_text},
};

/// A service with the places that checks across blocks point at.
#[derive(Debug)]
pub(crate) struct ServiceDraft {
    pub definition: ServiceDefinition,
    /// Where each route stands; as many as the definition has routes.
    pub route_spans: Vec<Span>,
    pub image_span: Span,
    /// Where each mount stands; as many as the definition has mounts.
    pub mount_spans: Vec<Span>,
    /// Where the path of each configuration file stands, and then that of each secret; as many as the definition has.
    pub config_spans: Vec<Span>,
    pub depends_on_span: Span,
    /// Its own guards, as they are written.
    pub guards: Vec<GuardDraft>,
}

/// Reads a block whose name was found to be valid; none where it has no image to run, which is reported.
pub(crate) fn read(
    cx: &mut Evaluator,
    block: &Block,
    name: ServiceName,
    sources: &dyn Sources,
) -> Option<ServiceDraft> {
    let mut section = Section::of_block(cx, block, format!("service `{name}`"));
    let image = image(cx, &mut section);
    let kind = kind(cx, &mut section);
    let WaysIn { ports, health, routes, route_spans } = ways_in(cx, &mut section);
    let mounts = read_volume::mounts(cx, &mut section, kind);
    let metrics = read_metrics::endpoint(cx, &mut section, &ports);
    let depends_on_span = section.span.clone();
    let depends_on = depends_on(cx, &mut section, &name);
    let (instances, scale) = size(cx, &mut section, kind, !ports.is_empty());
    let (mounts, mount_spans): (Vec<_>, Vec<_>) = mounts.into_iter().unzip();
    let LaidOver { config, secrets, config_spans } = laid_over(cx, &mut section, sources);
    let guards = read_guard::take(cx, &mut section);
    let rollout = read_rollout::read(cx, &mut section, !mounts.is_empty(), &ports);
    let migrate = read_migrate::read(cx, &mut section, !mounts.is_empty(), &rollout.strategy);
    let definition = ServiceDefinition {
        image: ImageName::new(image.as_ref().map_or("none", |image| &image.value)).ok()?,
        kind,
        instances,
        scale,
        ports,
        health,
        routes,
        rollout,
        resources: resources(cx, &mut section),
        egress: section.flag(cx, "egress").unwrap_or(defaults::EGRESS),
        depends_on,
        max_age: read_volume::max_age(cx, &mut section, !mounts.is_empty()),
        require_fresh_rollback: read_volume::fresh_rollback(cx, &mut section, !mounts.is_empty()),
        // Those of the whole file: see `resolve`.
        trust: Vec::new(),
        keep: keep(cx, &mut section),
        stop_signal: stop_signal(cx, &mut section),
        stop_grace: stop_grace(cx, &mut section),
        env: read_configuration::env(cx, &mut section),
        config,
        secrets,
        budget: read_budget::read(cx, &mut section),
        mounts,
        not_state: read_volume::not_state(cx, &mut section),
        // With those of its volumes: see `resolve`.
        guards: Vec::new(),
        migrate,
        labels: read_metrics::labels(cx, &mut section),
        metrics,
        name,
    };
    section.finish(cx);
    image.map(|image| ServiceDraft {
        definition,
        route_spans,
        image_span: image.span,
        mount_spans,
        config_spans,
        depends_on_span,
        guards,
    })
}

fn image(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<Text> {
    let is_written = section.has("image");
    let image = section.reference(cx, "image", BlockKind::Image);
    if !is_written {
        section.missing(cx, "image", "write `image = image.NAME`");
    }
    image
}

/// What leads to a service.
struct WaysIn {
    ports: Vec<Port>,
    health: Option<HealthContract>,
    routes: Vec<Route>,
    route_spans: Vec<Span>,
}

fn ways_in(cx: &mut Evaluator, section: &mut Section<'_>) -> WaysIn {
    let drafts = ports(cx, section);
    let named: Vec<(PortName, u16)> =
        drafts.iter().map(|port| (port.name.clone(), port.container)).collect();
    let health = health(cx, section, &named);
    let routes = read_route::read_all(cx, section, &drafts);
    let ports = settle(cx, drafts, health.as_ref(), &routes);
    let (routes, route_spans) = read_route::settle(cx, routes, &ports);
    WaysIn { ports, health, routes, route_spans }
}

/// How many instances there are, at first where their load decides.
fn size(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    kind: ServiceKind,
    has_ports: bool,
) -> (u32, Option<Scale>) {
    let place = section.has("instances").then(|| section.place("instances"));
    let instances = section
        .whole(
            cx,
            "instances",
            1,
            limits::INSTANCES,
            "a service runs at least one instance, and one machine carries no more than a thousand; to stop a \
             service, take it down",
        )
        .unwrap_or(defaults::INSTANCES);
    let scale = read_scale::read(cx, section, &Scaled { kind, has_ports, instances: place });
    (scale.as_ref().map_or(instances, Scale::least), scale)
}

/// What is laid over the root of instances.
struct LaidOver {
    config: Vec<ConfigDefinition>,
    secrets: Vec<SecretDefinition>,
    /// Where the path of each file stands, and then that of each secret.
    config_spans: Vec<Span>,
}

fn laid_over(cx: &mut Evaluator, section: &mut Section<'_>, sources: &dyn Sources) -> LaidOver {
    let config = read_configuration::config(cx, section, sources);
    let (config, mut config_spans): (Vec<_>, Vec<_>) = config.into_iter().unzip();
    let secrets = read_configuration::secrets(cx, section);
    let (secrets, secret_spans): (Vec<_>, Vec<_>) = secrets.into_iter().unzip();
    config_spans.extend(secret_spans);
    let files = config.iter().map(|file: &ConfigDefinition| file.path.as_str());
    let paths = files.chain(secrets.iter().map(|secret: &SecretDefinition| secret.path.as_str()));
    read_configuration::apart(cx, &section.what, paths.zip(&config_spans).collect());
    LaidOver { config, secrets, config_spans }
}

fn kind(cx: &mut Evaluator, section: &mut Section<'_>) -> ServiceKind {
    let words = [("stateless", ServiceKind::Stateless), ("stateful", ServiceKind::Stateful)];
    word(cx, section, "kind", &words).map_or(ServiceKind::Stateless, |kind| kind.value)
}

/// The words of signals.
const STOP_SIGNALS: [(&str, StopSignal); 7] = [
    ("SIGTERM", StopSignal::Terminate),
    ("SIGINT", StopSignal::Interrupt),
    ("SIGQUIT", StopSignal::Quit),
    ("SIGHUP", StopSignal::Hangup),
    ("SIGUSR1", StopSignal::User1),
    ("SIGUSR2", StopSignal::User2),
    ("SIGWINCH", StopSignal::WindowChange),
];

/// The signal that asks a server to end.
pub(crate) fn stop_signal(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<StopSignal> {
    word(cx, section, "stop_signal", &STOP_SIGNALS).map(|word| word.value)
}

pub(crate) fn stop_grace(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<Millis> {
    let span = section.place("stop_grace");
    let grace = section.duration(cx, "stop_grace", Millis(0))?;
    if grace <= limits::STOP_GRACE {
        return Some(grace);
    }
    let message = format!(
        "`stop_grace` of {} must be at most {}, not {grace}",
        section.what,
        limits::STOP_GRACE
    );
    cx.report(
        Mistake::new(ErrorCode::OutOfRange, span, message)
            .hint("`down` and replacing wait for it: let the server end sooner"),
    );
    None
}

fn health(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    ports: &[(PortName, u16)],
) -> Option<HealthContract> {
    let contract = |check: Check| HealthContract {
        check,
        interval: defaults::HEALTH_INTERVAL,
        timeout: defaults::HEALTH_TIMEOUT,
        unhealthy_after: defaults::UNHEALTHY_AFTER,
        healthy_after: defaults::HEALTHY_AFTER,
        start_timeout: defaults::START_TIMEOUT,
    };
    let first = || ports.first().map(|(_, port)| Check::Tcp(TcpCheck { port: *port }));
    let Some(mut part) = section.part(cx, "health") else { return first().map(contract) };
    let mut checks = read_check::take(cx, &mut part, &NamedPorts { ports, allowed: true });
    if checks.len() > 1 {
        let message = format!("{} has both `http` and `tcp`", part.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, checks[1].port_span.clone(), message)
                .hint("a service has one health check"),
        );
    }
    let check = if checks.is_empty() { first() } else { Some(checks.swap_remove(0).check) };
    let mut health = check.map(contract).unwrap_or_else(|| {
        part.missing(cx, "http` or `tcp", "write `http = { port = 8080, path = \"/\" }`");
        contract(Check::Tcp(TcpCheck { port: 1 }))
    });
    let least = Millis(10);
    health.interval = part.duration(cx, "interval", least).unwrap_or(health.interval);
    health.timeout = part.duration(cx, "timeout", least).unwrap_or(health.timeout);
    health.start_timeout =
        part.duration(cx, "start_timeout", least).unwrap_or(health.start_timeout);
    health.unhealthy_after = part
        .whole(cx, "unhealthy_after", 1, 1_000, "one failure is the least that can count")
        .unwrap_or(health.unhealthy_after);
    health.healthy_after = part
        .whole(cx, "healthy_after", 1, 1_000, "one pass is the least that can count")
        .unwrap_or(health.healthy_after);
    part.finish(cx);
    Some(health)
}

/// Gives every port its protocol, and sorts them.
fn settle(
    cx: &mut Evaluator,
    drafts: Vec<PortDraft>,
    health: Option<&HealthContract>,
    routes: &[RouteDraft],
) -> Vec<Port> {
    let mut ports: Vec<Port> = drafts
        .into_iter()
        .map(|draft| {
            let asked = health.is_some_and(|health| {
                matches!(&health.check, Check::Http(check) if check.port == draft.container)
            });
            if let (true, true, Some(written)) = (asked, draft.http2, &draft.protocol) {
                let message =
                    format!("port `{}` speaks HTTP/2, but the health check asks by HTTP/1.1", draft.name);
                cx.report(
                    Mistake::new(ErrorCode::Conflict, written.span.clone(), message)
                        .hint("write `tcp = { port = … }` in `health`, or ask another port"),
                );
            }
            let routed =
                routes.iter().any(|route| route.port == draft.name && route.leads_http());
            let by_name = draft.name.as_str().starts_with("http");
            let protocol = match draft.protocol {
                Some(written) => {
                    if written.value == Protocol::Tcp && routed {
                        let message =
                            format!("port `{}` speaks TCP, but a route to it speaks HTTP", draft.name);
                        cx.report(
                            Mistake::new(ErrorCode::Conflict, written.span, message).hint(
                                "write `protocol = \"http\"` here, or `protocol = \"tcp\"` in the route",
                            ),
                        );
                    }
                    written.value
                }
                None if asked || routed || by_name => Protocol::Http,
                None => Protocol::Tcp,
            };
            Port {
                name: draft.name,
                container: draft.container,
                protocol,
                http2: draft.http2,
                idle_timeout: draft.idle_timeout,
                proxy_protocol: draft.proxy_protocol,
            }
        })
        .collect();
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    ports
}

fn keep(cx: &mut Evaluator, section: &mut Section<'_>) -> Keep {
    let default = Keep::default();
    let releases = section.whole(
        cx,
        "keep_releases",
        1,
        limits::KEEP_RELEASES,
        "the release that serves is always kept, so one is the least",
    );
    let days = section.whole(
        cx,
        "keep_days",
        0,
        limits::KEEP_DAYS,
        "0 means that age keeps nothing; ten years are the most",
    );
    Keep { releases: releases.unwrap_or(default.releases), days: days.unwrap_or(default.days) }
}

pub(crate) fn resources(cx: &mut Evaluator, section: &mut Section<'_>) -> Resources {
    let mut resources = Resources {
        memory_bytes: defaults::MEMORY_BYTES,
        cpu_millis: defaults::CPU_MILLIS,
        pids: defaults::PIDS,
    };
    let Some(mut part) = section.part(cx, "resources") else { return resources };
    let memory = part.size(cx, "memory", limits::MEMORY_MIN_BYTES);
    resources.memory_bytes = memory.unwrap_or(resources.memory_bytes);
    resources.cpu_millis = cpus(cx, &mut part).unwrap_or(resources.cpu_millis);
    resources.pids = part
        .whole(
            cx,
            "pids",
            1,
            limits::PIDS,
            "an instance is at least one process, and the kernel numbers no more than that",
        )
        .unwrap_or(resources.pids);
    part.finish(cx);
    resources
}

fn cpus(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<u32> {
    let value = section.take("cpus")?;
    let name = format!("`cpus` of {}", section.what);
    let Value::Number(cpus) = value.value else {
        wrong_type(cx, &name, "a number of cores", &value);
        return None;
    };
    let millis = (cpus * 1_000.0).round();
    // The kernel gives no share below a hundredth of a core.
    if (10.0..=f64::from(limits::CPUS) * 1_000.0).contains(&millis) {
        return Some(millis as u32);
    }
    let message =
        format!("{name} must be from 0.01 to {} cores, not {}", limits::CPUS, number_text(cpus));
    cx.report(Mistake::new(ErrorCode::OutOfRange, value.span, message));
    None
}

fn depends_on(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    own: &ServiceName,
) -> Vec<ServiceName> {
    let name = format!("an element of `depends_on` of {}", section.what);
    let items = section.list(cx, "depends_on", "a list such as `[service.db]`");
    let mut services = Vec::new();
    for item in items.iter().flat_map(|items| &items.value) {
        let Some(to) = reference(cx, &name, item, BlockKind::Service) else { continue };
        if *to.value == *own.as_str() {
            let message = format!("service `{own}` depends on itself");
            cx.report(Mistake::new(ErrorCode::Cycle, to.span, message));
        } else if let Ok(service) = ServiceName::new(&*to.value) {
            services.push(service);
        }
    }
    services.sort();
    services.dedup();
    services
}
