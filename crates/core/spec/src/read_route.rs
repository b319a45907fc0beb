//! Reads `route` blocks.

use std::net::IpAddr;

use hcl_edit::structure::Block;
use hornero_model::{Port, PortName, Protocol, Route, RouteTls};

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    limits, read_check,
    read_listener::{self, LimitsDraft},
    read_port::{PROTOCOLS, PortDraft},
    read_value::shown,
    read_word::word,
    section::{At, Section, Text, header},
    value::Span,
};

/// A route before its protocol is known.
#[derive(Debug)]
pub(crate) struct RouteDraft {
    listen: u16,
    address: Option<IpAddr>,
    pub port: PortName,
    host: Option<String>,
    path_prefix: Option<String>,
    protocol: Option<At<Protocol>>,
    tls: Option<RouteTls>,
    redirect_to: Option<u16>,
    trusted_proxies: Vec<String>,
    proxy_protocol: bool,
    limits: LimitsDraft,
    span: Span,
}

impl RouteDraft {
    /// Whether it says by itself that it speaks HTTP.
    pub(crate) fn speaks_http(&self) -> bool {
        match &self.protocol {
            Some(written) => written.value == Protocol::Http,
            None => self.host.is_some() || self.path_prefix.is_some() || self.redirect_to.is_some(),
        }
    }

    /// Whether it leads HTTP to the server, which then has to speak it.
    pub(crate) fn leads_http(&self) -> bool {
        self.speaks_http() && self.redirect_to.is_none()
    }
}

/// Reads every route of a service. One without a port number or a known port is reported and left out.
pub(crate) fn read_all(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    ports: &[PortDraft],
) -> Vec<RouteDraft> {
    let what = format!("a route of {}", section.what);
    let blocks = section.take_blocks(cx, "route", limits::ROUTES);
    blocks.into_iter().filter_map(|block| read(cx, block, &what, ports)).collect()
}

fn read(cx: &mut Evaluator, block: &Block, what: &str, ports: &[PortDraft]) -> Option<RouteDraft> {
    let span = header(block);
    if !block.labels.is_empty() {
        cx.report(
            Mistake::new(ErrorCode::MissingName, span.clone(), "a route has no name")
                .hint("write `route { … }`, and the name of the port as `port = \"http\"`"),
        );
    }
    let mut section = Section::of_block(cx, block, what.to_owned());
    let listen = match section.take("listen") {
        Some(value) => read_check::number(cx, &format!("`listen` of {what}"), &value),
        None => {
            section.missing(cx, "listen", "write the port on the host: `listen = 8000`");
            None
        }
    };
    let redirects = section.has("redirect_to");
    let redirect_to = section
        .take("redirect_to")
        .and_then(|value| read_check::number(cx, &format!("`redirect_to` of {what}"), &value));
    let port = port(cx, &mut section, ports, redirects);
    let trusted_proxies = read_listener::trusted_proxies(cx, &mut section);
    let draft = RouteDraft {
        listen: listen.unwrap_or_default(),
        address: section.text(cx, "address").and_then(|address| ip(cx, &address)),
        port: port.clone().or_else(|| PortName::new("none").ok())?,
        host: section.text(cx, "host").and_then(|host| host_name(cx, &host)),
        path_prefix: section
            .text(cx, "path_prefix")
            .and_then(|path| read_check::http_path(cx, "`path_prefix`", &path)),
        protocol: word(cx, &mut section, "protocol", &PROTOCOLS),
        tls: tls(cx, &mut section),
        redirect_to,
        proxy_protocol: read_listener::proxy_protocol(cx, &mut section, &trusted_proxies),
        limits: read_listener::limits(cx, &mut section),
        trusted_proxies,
        span,
    };
    section.finish(cx);
    check_redirect(cx, &draft, what);
    let tcp = draft.protocol.as_ref().is_some_and(|written| written.value == Protocol::Tcp);
    if tcp && (draft.host.is_some() || draft.path_prefix.is_some()) {
        let message = format!("{what} speaks TCP, which has neither hosts nor paths");
        cx.report(
            Mistake::new(ErrorCode::Conflict, draft.span.clone(), message)
                .hint("leave out `host` and `path_prefix`, or `protocol`"),
        );
    }
    (listen.is_some() && port.is_some()).then_some(draft)
}

/// A redirect leads from cleartext to TLS, and to another port.
fn check_redirect(cx: &mut Evaluator, draft: &RouteDraft, what: &str) {
    let Some(redirect_to) = draft.redirect_to else { return };
    let tcp = draft.protocol.as_ref().is_some_and(|written| written.value == Protocol::Tcp);
    let (message, hint) = if draft.tls.is_some() {
        ("has both `tls` and `redirect_to`", "give the route on the other port the `tls`")
    } else if tcp {
        ("speaks TCP, which knows no redirects", "leave out `protocol`")
    } else if redirect_to == draft.listen {
        ("redirects to itself", "name the port of a route with `tls`, such as 443")
    } else {
        return;
    };
    let message = format!("{what} {message}");
    cx.report(Mistake::new(ErrorCode::Conflict, draft.span.clone(), message).hint(hint));
}

/// The port that answers; one that is only redirected from can be any.
fn port(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    ports: &[PortDraft],
    redirects: bool,
) -> Option<PortName> {
    if !section.has("port") {
        section.take("port");
        return match ports {
            [only] => Some(only.name.clone()),
            [first, ..] if redirects => Some(first.name.clone()),
            [] => {
                section.missing(cx, "port", "declare a `port` block and name it here");
                None
            }
            _ => {
                section.missing(cx, "port", "the service has several: name one");
                None
            }
        };
    }
    let name = section.text(cx, "port")?;
    let named: Vec<(PortName, u16)> =
        ports.iter().map(|port| (port.name.clone(), port.container)).collect();
    read_check::named(cx, &name, &named)?;
    PortName::new(&*name.value).ok()
}

fn ip(cx: &mut Evaluator, address: &Text) -> Option<IpAddr> {
    if let Ok(ip) = address.value.parse() {
        return Some(ip);
    }
    let message = format!("`{}` is not an IP address", shown(&address.value));
    cx.report(
        Mistake::new(ErrorCode::InvalidValue, address.span.clone(), message).hint(
            "write one of the host's own, such as `127.0.0.1`, or leave it out for all of them",
        ),
    );
    None
}

fn host_name(cx: &mut Evaluator, host: &Text) -> Option<String> {
    let text = &*host.value;
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // `*.` stands for every name below.
    let name = text.strip_prefix("*.").unwrap_or(text);
    if text.len() <= 253 && name.split('.').all(label) {
        return Some(text.to_ascii_lowercase());
    }
    let hint = if text.contains(':') {
        "leave out the port: `listen` says it"
    } else if text.contains('*') {
        "`*` stands at the beginning only, as in `*.example.org`"
    } else {
        "write a name such as `www.example.org`"
    };
    let message = format!("`{}` is not a host name", shown(text));
    cx.report(Mistake::new(ErrorCode::InvalidValue, host.span.clone(), message).hint(hint));
    None
}

fn tls(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<RouteTls> {
    let mut part = section.part(cx, "tls")?;
    let mut file = |cx: &mut Evaluator, key: &'static str| {
        if !part.has(key) {
            part.missing(cx, key, "write the absolute path of a PEM file on the host");
        }
        let path = part.text(cx, key)?;
        if path.value.starts_with('/') && path.value.len() <= limits::PATH_BYTES {
            return Some(path.value.to_string());
        }
        let message = format!("`{key}` must be an absolute path, not `{}`", shown(&path.value));
        cx.report(
            Mistake::new(ErrorCode::InvalidValue, path.span, message)
                .hint("it is a PEM file on the host, outside the image"),
        );
        None
    };
    let certificate = file(cx, "certificate");
    let key = file(cx, "key");
    part.finish(cx);
    Some(RouteTls { certificate: certificate?, key: key? })
}

/// Gives every route its protocol, that of its port where it says nothing.
pub(crate) fn settle(
    cx: &mut Evaluator,
    drafts: Vec<RouteDraft>,
    ports: &[Port],
) -> (Vec<Route>, Vec<Span>) {
    let mut routes = Vec::new();
    let mut spans = Vec::new();
    for draft in drafts {
        let of_port = ports.iter().find(|port| port.name == draft.port);
        let of_port = of_port.map_or(Protocol::Tcp, |port| port.protocol);
        let protocol = match &draft.protocol {
            Some(written) => written.value,
            None if draft.speaks_http() => Protocol::Http,
            None => of_port,
        };
        if protocol == Protocol::Tcp && draft.tls.is_some() {
            cx.report(
                Mistake::new(
                    ErrorCode::Conflict,
                    draft.span.clone(),
                    "a route that speaks TCP can't have `tls`",
                )
                .hint("let the service itself speak TLS: a TCP route passes it through"),
            );
        }
        draft.limits.check(cx, protocol, draft.proxy_protocol);
        routes.push(Route {
            listen: draft.listen,
            address: draft.address,
            port: draft.port,
            host: draft.host,
            path_prefix: draft.path_prefix,
            protocol,
            tls: draft.tls,
            redirect_to: draft.redirect_to,
            trusted_proxies: draft.trusted_proxies,
            proxy_protocol: draft.proxy_protocol,
            limits: draft.limits.value,
        });
        spans.push(draft.span);
    }
    (routes, spans)
}
