//! Checks by HTTP and TCP, as images' tests and services' health contracts have them.

use hornero_model::{Check, HttpCheck, PortName, TcpCheck};

use crate::{
    ErrorCode, defaults,
    error::Mistake,
    evaluate::Evaluator,
    read_value::{shown, wrong_type},
    section::{At, Section, Text},
    suggest::did_you_mean,
    value::{Located, Span, Value},
};

/// The named ports that a check may use; those of an image are numbers only.
pub(crate) struct NamedPorts<'a> {
    /// Names and numbers, in the order given.
    pub ports: &'a [(PortName, u16)],
    /// Whether checks may use names at all.
    pub allowed: bool,
}

/// A check that was read, with the place of its port.
#[derive(Debug)]
pub(crate) struct ReadCheck {
    pub check: Check,
    pub port_span: Span,
}

/// Takes `http` or `tcp`, of which there may be one; `other` is a further way that excludes both.
pub(crate) fn take(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    ports: &NamedPorts<'_>,
) -> Vec<ReadCheck> {
    let http = section.part(cx, "http").and_then(|part| http(cx, part, ports));
    let tcp = section.part(cx, "tcp").and_then(|part| tcp(cx, part, ports));
    http.into_iter().chain(tcp).collect()
}

fn http(cx: &mut Evaluator, mut section: Section<'_>, ports: &NamedPorts<'_>) -> Option<ReadCheck> {
    let port = port(cx, &mut section, ports);
    let path =
        section.text(cx, "path").and_then(|path| http_path(cx, "the path of a check", &path));
    let status = section.whole(cx, "status", 100, 599, "HTTP has statuses from 100 to 599");
    let contains = section.text(cx, "contains").map(|text| text.value.to_string());
    section.finish(cx);
    let port = port?;
    let check = HttpCheck {
        port: port.value,
        path: path.unwrap_or_else(|| defaults::CHECK_PATH.to_owned()),
        status: status.and_then(|status| u16::try_from(status).ok()),
        contains,
    };
    Some(ReadCheck { check: Check::Http(check), port_span: port.span })
}

fn tcp(cx: &mut Evaluator, mut section: Section<'_>, ports: &NamedPorts<'_>) -> Option<ReadCheck> {
    let port = port(cx, &mut section, ports);
    section.finish(cx);
    let port = port?;
    Some(ReadCheck { check: Check::Tcp(TcpCheck { port: port.value }), port_span: port.span })
}

/// The port of a check; a service with one port, or one called `http`, need not say it.
pub(crate) fn port(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    ports: &NamedPorts<'_>,
) -> Option<At<u16>> {
    let Some(value) = section.take("port") else {
        let only = match ports.ports {
            [only] => Some(only),
            all => all.iter().find(|(name, _)| name.as_str() == "http"),
        };
        if let Some((_, number)) = only {
            return Some(At { value: *number, span: section.span.clone() });
        }
        section.missing(cx, "port", "write `port = 8080`");
        return None;
    };
    let name = format!("`port` of {}", section.what);
    match &value.value {
        Value::String(text) if ports.allowed => {
            let text = Text { value: text.clone(), span: value.span.clone() };
            named(cx, &text, ports.ports).map(|number| At { value: number, span: text.span })
        }
        _ => number(cx, &name, &value).map(|number| At { value: number, span: value.span }),
    }
}

/// The number of a named port.
pub(crate) fn named(cx: &mut Evaluator, name: &Text, ports: &[(PortName, u16)]) -> Option<u16> {
    if let Some((_, number)) = ports.iter().find(|(known, _)| known.as_str() == &*name.value) {
        return Some(*number);
    }
    let names = ports.iter().map(|(known, _)| known.as_str());
    let hint = did_you_mean(&name.value, names).unwrap_or_else(|| {
        format!("declare it: `port \"{}\" {{ container = 8080 }}`", shown(&name.value))
    });
    cx.report(
        Mistake::new(
            ErrorCode::UnknownReference,
            name.span.clone(),
            format!("the service has no port `{}`", shown(&name.value)),
        )
        .hint(hint),
    );
    None
}

/// A port number.
pub(crate) fn number(cx: &mut Evaluator, name: &str, value: &Located) -> Option<u16> {
    let Value::Number(_) = value.value else {
        wrong_type(cx, name, "a port number", value);
        return None;
    };
    let reason = "ports go from 1 to 65535";
    crate::read_value::whole(cx, name, value, (1, 65_535), reason)
        .and_then(|number| u16::try_from(number).ok())
}

/// A request path, or the beginning of one.
pub(crate) fn http_path(cx: &mut Evaluator, name: &str, path: &Text) -> Option<String> {
    let text = &*path.value;
    let fine = text.starts_with('/')
        && text.len() <= 2_048
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if fine {
        return Some(text.to_owned());
    }
    let hint = if text.starts_with('/') {
        "write spaces and letters beyond ASCII as `%20` and the like"
    } else {
        "begin it with `/`"
    };
    cx.report(
        Mistake::new(
            ErrorCode::InvalidValue,
            path.span.clone(),
            format!("{name} is not a request path: `{}`", shown(text)),
        )
        .hint(hint),
    );
    None
}
