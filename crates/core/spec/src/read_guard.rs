//! Reads `guard` blocks of services and volumes: what is asked before servers are taken away.

use std::collections::BTreeMap;

use hcl_edit::structure::Block;
use hornero_model::{
    AmqpProbe, DataGuard, DataProbe, GuardName, HttpProbe, JsonCondition, JsonTest, Millis,
    NatsProbe, Port, PortName, PostgresProbe, ProbeLogin, RedisProbe, SecretLabel,
};

use crate::{
    ErrorCode, SecretDefinition, defaults,
    error::Mistake,
    evaluate::Evaluator,
    limits, read_check, read_command,
    read_value::{shown, valid},
    section::{Section, Text, header, label},
    value::{Located, Span, Value, text_of},
};

/// A guard whose port and password are looked up once it is known whose it is.
#[derive(Debug, Clone)]
pub(crate) struct GuardDraft {
    guard: DataGuard,
    name_span: Span,
    port: WrittenPort,
    password_span: Span,
}

/// The port of a probe, as it is written.
#[derive(Debug, Clone)]
struct WrittenPort {
    value: Option<Located>,
    /// The port that servers of this kind have; none where there is no such thing.
    standard: Option<u16>,
    what: String,
    span: Span,
}

/// Where NATS servers tell of themselves, and where their clients come.
const NATS_MONITOR: u16 = 8_222;
const NATS_CLIENTS: u16 = 4_222;
/// The most that a number of a guard may be.
const MOST: u32 = 1_000_000_000;
/// The probes that are objects.
const PROBES: [(&str, ReadProbe); 5] =
    [("postgres", postgres), ("redis", redis), ("amqp", amqp), ("nats", nats), ("http", http)];

/// Reads one kind of probe, whose port is filled in later.
type ReadProbe = fn(&mut Evaluator, &mut Section<'_>) -> Option<(DataProbe, Option<u16>)>;

/// Takes the guards of a block.
pub(crate) fn take(cx: &mut Evaluator, section: &mut Section<'_>) -> Vec<GuardDraft> {
    let blocks = section.take_blocks(cx, "guard", limits::GUARDS);
    blocks.into_iter().filter_map(|block| read(cx, block)).collect()
}

fn read(cx: &mut Evaluator, block: &Block) -> Option<GuardDraft> {
    let label = label(cx, block, "a guard needs a name", "no-open-transactions");
    let shown_name = label.as_ref().map(|label| shown(&label.value)).unwrap_or_default();
    let mut section = Section::of_block(cx, block, format!("guard `{shown_name}`"));
    let within = within(cx, &mut section);
    let (probe, inner) = one_probe(cx, &mut section);
    let within = match (within, inner) {
        (Some((first, _)), Some((_, span))) => {
            let message = format!("{} has `within` twice", section.what);
            cx.report(Mistake::new(ErrorCode::DuplicateName, span, message));
            first
        }
        (Some((within, _)), None) | (None, Some((within, _))) => within,
        (None, None) => defaults::GUARD_WITHIN,
    };
    section.finish(cx);
    let name = label.and_then(|label| valid(cx, GuardName::new(&*label.value), label))?;
    let Probed { probe, port, password_span } = probe?;
    let guard = DataGuard { name: name.value, probe, within };
    Some(GuardDraft { guard, name_span: header(block), port, password_span })
}

/// A probe with what is looked up later.
struct Probed {
    probe: DataProbe,
    port: WrittenPort,
    password_span: Span,
}

/// The one probe of a guard, and how long it may be asked where that stands in it.
fn one_probe(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
) -> (Option<Probed>, Option<(Millis, Span)>) {
    let (mut found, mut inner) = (Vec::new(), None);
    let mut written = 0_usize;
    let place = section.place("command");
    if let Some(command) = read_command::command_of(cx, section, "command") {
        written += 1;
        let what = String::new();
        let port = WrittenPort { value: None, standard: None, what, span: place.clone() };
        let probe = DataProbe::Command(command);
        found.push(Probed { probe, port, password_span: place });
    }
    for (word, read) in PROBES {
        let Some(mut part) = section.part(cx, word) else { continue };
        written += 1;
        let (span, password_span) = (part.place("port"), part.place("password"));
        inner = inner.or(within(cx, &mut part));
        let value = part.take("port");
        let probe = read(cx, &mut part);
        let what = part.what.clone();
        part.finish(cx);
        let Some((probe, standard)) = probe else { continue };
        let port = WrittenPort { value, standard, what, span };
        found.push(Probed { probe, port, password_span });
    }
    if written != 1 {
        let message = match written {
            0 => format!("{} asks nothing", section.what),
            _ => format!("{} has {written} probes", section.what),
        };
        cx.report(Mistake::new(ErrorCode::Conflict, section.span.clone(), message).hint(
            "a guard has one of `postgres`, `redis`, `amqp`, `nats`, `http` and `command`; write a guard for each",
        ));
        return (None, inner);
    }
    (found.pop(), inner)
}

fn within(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<(Millis, Span)> {
    let span = section.place("within");
    let within = section.duration(cx, "within", limits::LEAST_GUARD_WITHIN)?;
    if within > limits::GUARD_WITHIN {
        let message =
            format!("`within` of {} must be at most {}", section.what, limits::GUARD_WITHIN);
        cx.report(Mistake::new(ErrorCode::OutOfRange, span.clone(), message));
    }
    Some((within, span))
}

fn number(cx: &mut Evaluator, section: &mut Section<'_>, key: &'static str) -> Option<u32> {
    section.whole(cx, key, 0, MOST, "")
}

fn login(cx: &mut Evaluator, section: &mut Section<'_>, user: &str) -> ProbeLogin {
    let named = section.text(cx, "user").map(|user| user.value.to_string());
    let password = section.text(cx, "password");
    let password = password.and_then(|text| valid(cx, SecretLabel::new(&*text.value), text));
    ProbeLogin {
        user: named.unwrap_or_else(|| user.to_owned()),
        password: password.map(|password| password.value),
    }
}

/// Reports a probe that looks at nothing.
fn looks_at_nothing(cx: &mut Evaluator, section: &Section<'_>, keys: &str) {
    let message = format!("{} looks at nothing", section.what);
    cx.report(
        Mistake::new(ErrorCode::MissingKey, section.span.clone(), message)
            .hint(format!("write at least one of {keys}")),
    );
}

fn postgres(cx: &mut Evaluator, part: &mut Section<'_>) -> Option<(DataProbe, Option<u16>)> {
    let probe = PostgresProbe {
        port: 0,
        login: login(cx, part, defaults::GUARD_POSTGRES),
        database: part
            .text(cx, "database")
            .map_or_else(|| defaults::GUARD_POSTGRES.to_owned(), |text| text.value.to_string()),
        open_transactions: number(cx, part, "open_transactions"),
        connections: number(cx, part, "connections"),
        replication_lag: part.duration(cx, "replication_lag", Millis(0)),
    };
    let looks = probe.open_transactions.is_some() || probe.connections.is_some();
    if !looks && probe.replication_lag.is_none() {
        looks_at_nothing(cx, part, "`open_transactions`, `connections` and `replication_lag`");
    }
    Some((DataProbe::Postgres(probe), Some(5_432)))
}

fn redis(cx: &mut Evaluator, part: &mut Section<'_>) -> Option<(DataProbe, Option<u16>)> {
    let probe = RedisProbe {
        port: 0,
        login: login(cx, part, ""),
        clients: number(cx, part, "clients"),
        pending_persistence: number(cx, part, "pending_persistence"),
        unsaved_changes: number(cx, part, "unsaved_changes"),
    };
    let looks = probe.clients.is_some() || probe.pending_persistence.is_some();
    if !looks && probe.unsaved_changes.is_none() {
        looks_at_nothing(cx, part, "`clients`, `pending_persistence` and `unsaved_changes`");
    }
    Some((DataProbe::Redis(probe), Some(6_379)))
}

/// Text that must be there.
fn needed(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    key: &'static str,
    hint: &str,
) -> Option<String> {
    if !section.has(key) {
        section.missing(cx, key, hint);
    }
    section.text(cx, key).map(|text| text.value.to_string())
}

fn amqp(cx: &mut Evaluator, part: &mut Section<'_>) -> Option<(DataProbe, Option<u16>)> {
    let login = login(cx, part, defaults::GUARD_AMQP);
    let vhost =
        part.text(cx, "vhost").map_or_else(|| "/".to_owned(), |text| text.value.to_string());
    let queue = needed(cx, part, "queue", "write `queue = \"orders\"`");
    let depth = number(cx, part, "depth").unwrap_or(0);
    // Names are short strings of the protocol.
    let long = queue.as_ref().is_some_and(|queue| queue.len() > 255) || vhost.len() > 255;
    if long || login.user.len() > 255 {
        let message = format!("{} has a name of more than 255 bytes", part.what);
        cx.report(Mistake::new(ErrorCode::TooLarge, part.span.clone(), message));
    }
    let probe = AmqpProbe { port: 0, login, vhost, queue: queue?, depth };
    Some((DataProbe::Amqp(probe), Some(5_672)))
}

fn nats(cx: &mut Evaluator, part: &mut Section<'_>) -> Option<(DataProbe, Option<u16>)> {
    let named_span = part.place("stream");
    let stream = needed(cx, part, "stream", "write `stream = \"ORDERS\"`");
    let consumer_span = part.place("consumer");
    let consumer = part.text(cx, "consumer").map(|text| text.value.to_string());
    for (name, span) in [(&stream, named_span), (&consumer, consumer_span)] {
        if let Some(name) = name.as_ref().filter(|name| !NatsProbe::is_name(name)) {
            let message = format!("`{}` is no name of a stream or consumer", shown(name));
            cx.report(Mistake::new(ErrorCode::InvalidName, span, message).hint(
                "NATS takes up to 255 bytes without spaces, `.`, `*`, `>` and slashes; a subject is none",
            ));
        }
    }
    let pending = number(cx, part, "pending").unwrap_or(0);
    let login = login(cx, part, "");
    let as_client = part.flag(cx, "api").unwrap_or(false);
    let as_client = as_client || !login.user.is_empty() || login.password.is_some();
    let login = as_client.then_some(login);
    let standard = if as_client { NATS_CLIENTS } else { NATS_MONITOR };
    let probe = NatsProbe { port: 0, stream: stream?, consumer, pending, login };
    Some((DataProbe::Nats(probe), Some(standard)))
}

fn http(cx: &mut Evaluator, part: &mut Section<'_>) -> Option<(DataProbe, Option<u16>)> {
    let path = part.text(cx, "path");
    let path = path.and_then(|path| read_check::http_path(cx, "the path of a guard", &path));
    let login = login(cx, part, "");
    let json = part.part(cx, "json").and_then(|json| condition(cx, json));
    let probe = HttpProbe {
        port: 0,
        path: path.unwrap_or_else(|| defaults::CHECK_PATH.to_owned()),
        login: (!login.user.is_empty() || login.password.is_some()).then_some(login),
        json,
    };
    Some((DataProbe::Http(probe), None))
}

fn condition(cx: &mut Evaluator, mut section: Section<'_>) -> Option<JsonCondition> {
    let field = needed(cx, &mut section, "field", "write `field = \"queue.messages\"`");
    let at_most = number(cx, &mut section, "at_most").map(JsonTest::AtMost);
    let at_least = number(cx, &mut section, "at_least").map(JsonTest::AtLeast);
    let equals = section.take("equals").and_then(|value| match &value.value {
        Value::Number(_) | Value::Bool(_) => text_of(&value.value),
        _ => crate::read_value::text(cx, "`equals`", &value).map(|text| text.value),
    });
    let mut tests: Vec<JsonTest> =
        [at_most, at_least, equals.map(|text| JsonTest::Equals(text.to_string()))]
            .into_iter()
            .flatten()
            .collect();
    if tests.len() != 1 {
        let message = format!("{} has {} conditions", section.what, tests.len());
        cx.report(
            Mistake::new(ErrorCode::Conflict, section.span.clone(), message)
                .hint("write one of `at_most`, `at_least` and `equals`"),
        );
    }
    section.finish(cx);
    Some(JsonCondition { field: field?, is: tests.pop()? })
}

/// What guards are settled by: the service that they are of.
pub(crate) struct GuardedService<'a> {
    pub what: &'a str,
    pub ports: &'a [Port],
    pub secrets: &'a [SecretDefinition],
}

/// The guards of a service, its own and those of its volumes, sorted by name.
pub(crate) fn settle(
    cx: &mut Evaluator,
    drafts: Vec<GuardDraft>,
    service: &GuardedService<'_>,
) -> Vec<DataGuard> {
    let mut guards: BTreeMap<GuardName, (DataGuard, Span)> = BTreeMap::new();
    for draft in drafts {
        let GuardDraft { mut guard, name_span, port, password_span } = draft;
        if let Some((_, first)) = guards.get(&guard.name) {
            let message = format!("{} has two guards `{}`", service.what, guard.name);
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, name_span, message)
                    .related(first.clone(), "the first is here"),
            );
            continue;
        }
        let secret = guard.probe.password();
        if let Some(name) =
            secret.filter(|name| service.secrets.iter().all(|secret| secret.name != **name))
        {
            let message = format!("{} has no secret `{name}`", service.what);
            cx.report(
                Mistake::new(ErrorCode::UnknownReference, password_span, message).hint(format!(
                    "give the service the secret that its server knows: `secret \"{name}\" {{ path = … }}`"
                )),
            );
        }
        let number = match guard.probe {
            DataProbe::Command(_) => Some(0),
            _ => port_of(cx, &port, service.ports),
        };
        let Some(number) = number else { continue };
        set_port(&mut guard.probe, number);
        guards.insert(guard.name.clone(), (guard, name_span));
    }
    guards.into_values().map(|(guard, _)| guard).collect()
}

fn port_of(cx: &mut Evaluator, written: &WrittenPort, ports: &[Port]) -> Option<u16> {
    let WrittenPort { value, standard, what, span } = written;
    let named: Vec<(PortName, u16)> =
        ports.iter().map(|port| (port.name.clone(), port.container)).collect();
    match value {
        Some(value) => match &value.value {
            Value::String(text) => {
                let text = Text { value: text.clone(), span: value.span.clone() };
                read_check::named(cx, &text, &named)
            }
            _ => read_check::number(cx, &format!("`port` of {what}"), value),
        },
        None => {
            let is_there = |port: &u16| named.iter().any(|(_, number)| number == port);
            let only = match named.as_slice() {
                // What monitors a server has a port of its own.
                [(_, only)] if *standard != Some(NATS_MONITOR) => Some(*only),
                _ => None,
            };
            let found = standard.filter(is_there).or(only).or(*standard);
            if found.is_none() {
                let message = format!("{what} needs `port`");
                cx.report(
                    Mistake::new(ErrorCode::MissingKey, span.clone(), message)
                        .hint("write `port = \"NAME\"`, or the number inside the server"),
                );
            }
            found
        }
    }
}

fn set_port(probe: &mut DataProbe, number: u16) {
    match probe {
        DataProbe::Postgres(probe) => probe.port = number,
        DataProbe::Redis(probe) => probe.port = number,
        DataProbe::Amqp(probe) => probe.port = number,
        DataProbe::Nats(probe) => probe.port = number,
        DataProbe::Http(probe) => probe.port = number,
        DataProbe::Command(_) => {}
    }
}
