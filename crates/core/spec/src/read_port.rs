//! Reads `port` blocks.

use std::collections::BTreeMap;

use hornero_model::{Millis, PortName, Protocol, ProxyProtocol};

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    limits, read_check,
    read_value::{shown, valid},
    read_word::word,
    section::{At, Section, label},
    value::Span,
};

/// A port before its protocol is known.
#[derive(Debug)]
pub(crate) struct PortDraft {
    pub name: PortName,
    pub container: u16,
    pub protocol: Option<At<Protocol>>,
    pub http2: bool,
    pub idle_timeout: Option<Millis>,
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// The words of protocols.
pub(crate) const PROTOCOLS: [(&str, Protocol); 2] =
    [("http", Protocol::Http), ("tcp", Protocol::Tcp)];

/// The words of ports' protocols, and whether each is HTTP/2.
const PORT_PROTOCOLS: [(&str, (Protocol, bool)); 3] = [
    ("http", (Protocol::Http, false)),
    ("h2c", (Protocol::Http, true)),
    ("tcp", (Protocol::Tcp, false)),
];

/// The words of versions of the PROXY protocol.
const PROXY_PROTOCOLS: [(&str, ProxyProtocol); 2] =
    [("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];

/// The ports of a service, before their protocols are known.
pub(crate) fn ports(cx: &mut Evaluator, section: &mut Section<'_>) -> Vec<PortDraft> {
    let mut names: BTreeMap<PortName, Span> = BTreeMap::new();
    let mut numbers: BTreeMap<u16, Span> = BTreeMap::new();
    let mut ports = Vec::new();
    for block in section.take_blocks(cx, "port", limits::PORTS) {
        let name = label(cx, block, "a port needs a name", "http");
        let what =
            name.as_ref().map_or("port".to_owned(), |n| format!("port `{}`", shown(&n.value)));
        let mut inner = Section::of_block(cx, block, what);
        let container = inner.take("container");
        if container.is_none() {
            inner.missing(
                cx,
                "container",
                "write the port inside the instance: `container = 8080`",
            );
        }
        let container = container.and_then(|value| {
            let name = format!("`container` of {}", inner.what);
            read_check::number(cx, &name, &value)
                .map(|number| At { value: number, span: value.span })
        });
        let protocol = word(cx, &mut inner, "protocol", &PORT_PROTOCOLS);
        let http2 = protocol.as_ref().is_some_and(|written| written.value.1);
        let protocol = protocol.map(|At { value, span }| At { value: value.0, span });
        let idle_timeout = inner.duration(cx, "idle_timeout", Millis(0));
        let proxy_protocol = word(cx, &mut inner, "proxy_protocol", &PROXY_PROTOCOLS);
        inner.finish(cx);
        let Some(name) = name.and_then(|name| valid(cx, PortName::new(&*name.value), name)) else {
            continue;
        };
        if let Some(first) = names.get(&name.value) {
            let message = format!("{} has two ports `{}`", section.what, name.value);
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, name.span, message)
                    .related(first.clone(), "the first is here"),
            );
            continue;
        }
        names.insert(name.value.clone(), name.span);
        let Some(container) = container else { continue };
        if let Some(first) = numbers.get(&container.value) {
            let message = format!("{} has port {} twice", section.what, container.value);
            cx.report(
                Mistake::new(ErrorCode::PortClash, container.span, message)
                    .related(first.clone(), "first used here"),
            );
            continue;
        }
        numbers.insert(container.value, container.span);
        ports.push(PortDraft {
            name: name.value,
            container: container.value,
            protocol,
            http2,
            idle_timeout,
            proxy_protocol: proxy_protocol.map(|word| word.value),
        });
    }
    ports
}
