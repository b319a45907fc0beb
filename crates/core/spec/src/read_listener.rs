//! Reads what a route says of the port that it listens on: which proxies stand in front, and what clients may do.

use std::net::IpAddr;

use hornero_model::{ListenerLimits, Millis, Protocol};

use crate::{
    ErrorCode, error::Mistake, evaluate::Evaluator, limits, read_value::shown, section::Section,
    value::Span,
};

/// Limits of a port, before it is known what is spoken on it.
#[derive(Debug, Default)]
pub(crate) struct LimitsDraft {
    pub value: ListenerLimits,
    /// Where the time for heads stands.
    head_timeout: Option<Span>,
}

impl LimitsDraft {
    /// Reports a time for heads where none comes.
    pub(crate) fn check(&self, cx: &mut Evaluator, protocol: Protocol, proxy_protocol: bool) {
        let Some(span) = &self.head_timeout else { return };
        if protocol == Protocol::Tcp && !proxy_protocol {
            let message = "a route that speaks TCP has no heads, so no `head_timeout`";
            cx.report(
                Mistake::new(ErrorCode::Conflict, span.clone(), message)
                    .hint("`idle_timeout` says how long a connection may be silent"),
            );
        }
    }
}

/// Reads the `limits` of a route.
pub(crate) fn limits(cx: &mut Evaluator, section: &mut Section<'_>) -> LimitsDraft {
    let Some(mut part) = section.part(cx, "limits") else { return LimitsDraft::default() };
    let whole = |cx: &mut Evaluator, part: &mut Section<'_>, key: &'static str| {
        let reason =
            "none at all would be no route, and one process has files for some ten thousand";
        part.whole(cx, key, 1, limits::CONNECTIONS, reason)
    };
    let connections = whole(cx, &mut part, "connections");
    let of_source = part.place("connections_per_source");
    let connections_per_source = whole(cx, &mut part, "connections_per_source");
    if let (Some(all), Some(one)) = (connections, connections_per_source)
        && one > all
    {
        let message =
            format!("`connections_per_source` of {} is more than its `connections`", part.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, of_source, message)
                .hint(format!("one source can't have more than all, {all}")),
        );
    }
    let head_timeout = part.has("head_timeout").then(|| part.place("head_timeout"));
    let mut span = |key, most| span(cx, &mut part, key, most);
    let value = ListenerLimits {
        connections,
        connections_per_source,
        head_timeout: span("head_timeout", limits::HEAD_TIMEOUT),
        idle_timeout: span("idle_timeout", limits::IDLE_TIMEOUT),
    };
    part.finish(cx);
    LimitsDraft { value, head_timeout }
}

/// Takes a span of time up to `most`.
fn span(
    cx: &mut Evaluator,
    part: &mut Section<'_>,
    key: &'static str,
    most: Millis,
) -> Option<Millis> {
    // Deadlines are looked at every 100 ms.
    const LEAST: Millis = Millis(100);
    let place = part.place(key);
    let span = part.duration(cx, key, LEAST)?;
    if span <= most {
        return Some(span);
    }
    let message = format!("`{key}` of {} must be at most {most}, not {span}", part.what);
    cx.report(
        Mistake::new(ErrorCode::OutOfRange, place, message)
            .hint("whoever is waited for so long holds a place that others need"),
    );
    None
}

/// Whether proxies in front say whom they speak for; only those that are named may.
pub(crate) fn proxy_protocol(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    proxies: &[String],
) -> bool {
    let span = section.place("proxy_protocol");
    let asked = section.flag(cx, "proxy_protocol").unwrap_or(false);
    if asked && proxies.is_empty() {
        let message = format!("`proxy_protocol` of {} needs `trusted_proxies`", section.what);
        cx.report(Mistake::new(ErrorCode::MissingKey, span, message).hint(
            "name the proxies in front, such as `trusted_proxies = [\"10.0.0.0/8\"]`: anybody else could \
             say to be somebody else",
        ));
    }
    asked
}

pub(crate) fn trusted_proxies(cx: &mut Evaluator, section: &mut Section<'_>) -> Vec<String> {
    let written = section.texts(cx, "trusted_proxies").unwrap_or_default();
    let mut networks = Vec::new();
    for text in written.into_iter().take(limits::TRUSTED_PROXIES) {
        if is_network(&text.value) {
            networks.push(text.value.to_string());
            continue;
        }
        let message = format!("`{}` is not a network", shown(&text.value));
        cx.report(
            Mistake::new(ErrorCode::InvalidValue, text.span, message)
                .hint("write an address such as `192.0.2.7`, or several as `10.0.0.0/8`"),
        );
    }
    networks.sort();
    networks.dedup();
    networks
}

/// Whether it is an IP address, or the first of several with the number of bits that they share.
fn is_network(text: &str) -> bool {
    let (address, bits) = text.split_once('/').unwrap_or((text, "0"));
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.bytes().all(|byte| byte.is_ascii_digit())
        && bits.parse().is_ok_and(|bits: u32| bits <= most)
}
