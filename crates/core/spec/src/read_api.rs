//! Reads `api` of a home's settings: where the API listens, and who may what.

use std::{collections::BTreeMap, net::SocketAddr};

use hcl_edit::structure::Block;
use hornero_model::{
    ApiListener, ApiSettings, ClientGrant, Digest, GroupGrant, Role, RouteTls, TokenGrant,
};

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    limits,
    read_value::{invalid, shown},
    read_word::word,
    section::{Section, Text, header, label},
    value::Span,
};

/// Bytes of a name: it stands in each event that its bearer causes.
const NAME_BYTES: usize = 64;
const TOKEN_HINT: &str = "`hornero token new NAME --role ROLE` makes a token and prints the block";

/// Reads the part, where there is one.
pub(crate) fn read(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<ApiSettings> {
    let mut part = section.part(cx, "api")?;
    let span = part.span.clone();
    let tls = tls(cx, &mut part);
    let client_ca = path(cx, &mut part, "client_ca");
    let hosts = hosts(cx, &mut part);
    let tokens = tokens(cx, &mut part);
    let clients = granted(cx, &mut part, ("client", "a client needs the name of its subject"));
    let groups = granted(cx, &mut part, ("group", "a group needs a name"));
    if !groups.is_empty() && !part.has("socket") {
        part.missing(
            cx,
            "socket",
            "write `socket = \"/run/hornero.sock\"`: nobody but root gets into the home",
        );
    }
    let socket = path(cx, &mut part, "socket");
    let is_reached = part.has("listen");
    let address = part.text(cx, "listen").and_then(|text| address(cx, &text, tls.is_some()));
    let needs_listener = !tokens.is_empty() || !clients.is_empty() || tls.is_some();
    if !is_reached && needs_listener {
        part.missing(
            cx,
            "listen",
            "write `listen = \"127.0.0.1:8443\"`: tokens and certificates are of no use without",
        );
    }
    if client_ca.is_some() && tls.is_none() {
        conflict(cx, &span, "certificates of clients need TLS", "add `certificate` and `key`");
    }
    if !clients.is_empty() && client_ca.is_none() {
        let hint = "add `client_ca`, the file of certificates that sign those of clients";
        conflict(cx, &span, "nothing says whose certificates of clients count", hint);
    }
    part.finish(cx);
    let clients = clients.into_iter().map(|(name, role)| ClientGrant { name, role }).collect();
    let listener =
        address.map(|address| ApiListener { address, tls, client_ca, hosts, tokens, clients });
    let groups = groups.into_iter().map(|(name, role)| GroupGrant { name, role }).collect();
    Some(ApiSettings { listener, socket, groups })
}

fn conflict(cx: &mut Evaluator, span: &Span, message: &str, hint: &str) {
    cx.report(Mistake::new(ErrorCode::Conflict, span.clone(), message.to_owned()).hint(hint));
}

fn tls(cx: &mut Evaluator, part: &mut Section<'_>) -> Option<RouteTls> {
    let (has_certificate, has_key) = (part.has("certificate"), part.has("key"));
    match (has_certificate, has_key) {
        (true, false) => {
            part.missing(cx, "key", "write `key = \"/PATH\"`, the key of `certificate`")
        }
        (false, true) => part.missing(cx, "certificate", "write `certificate = \"/PATH\"`"),
        (true, true) | (false, false) => {}
    }
    let (certificate, key) = (path(cx, part, "certificate"), path(cx, part, "key"));
    Some(RouteTls { certificate: certificate?, key: key? })
}

fn path(cx: &mut Evaluator, part: &mut Section<'_>, key: &'static str) -> Option<String> {
    let text = part.text(cx, key)?;
    if !text.value.starts_with('/') {
        invalid(cx, &text, "an absolute path", "it begins with `/`");
        return None;
    }
    Some(text.value.to_string())
}

fn address(cx: &mut Evaluator, text: &Text, has_tls: bool) -> Option<SocketAddr> {
    const HINT: &str = "write an address and a port, such as `127.0.0.1:8443` or `[::]:8443`";
    let Ok(address) = text.value.parse::<SocketAddr>() else {
        invalid(cx, text, "an address with a port", HINT);
        return None;
    };
    if address.port() == 0 {
        invalid(cx, text, "an address with a port", HINT);
        return None;
    }
    if !has_tls && !address.ip().is_loopback() {
        let message = format!("`{address}` is reached from elsewhere, and has no TLS");
        cx.report(
            Mistake::new(ErrorCode::Conflict, text.span.clone(), message)
                .hint("add `certificate` and `key`, or listen on 127.0.0.1 or [::1]"),
        );
        return None;
    }
    Some(address)
}

fn hosts(cx: &mut Evaluator, part: &mut Section<'_>) -> Vec<String> {
    let texts = part.texts(cx, "hosts").unwrap_or_default();
    let is_host = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        !text.is_empty() && text.len() <= 253 && text.bytes().all(plain)
    };
    let mut hosts = Vec::new();
    for text in texts {
        if is_host(&text.value) {
            hosts.push(text.value.to_ascii_lowercase());
        } else {
            invalid(cx, &text, "a host name", "a name alone, such as `hornero.example.com`");
        }
    }
    hosts
}

/// The blocks of one kind by their names, each once.
fn named<'b>(
    cx: &mut Evaluator,
    part: &mut Section<'b>,
    (kind, needs): (&'static str, &str),
) -> Vec<(String, &'b Block)> {
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    let mut found = Vec::new();
    for block in part.take_blocks(cx, kind, limits::LIST) {
        let Some(name) = label(cx, block, needs, "ci") else { continue };
        let plain = |letter: char| letter.is_alphanumeric() || " -_.@".contains(letter);
        if name.value.is_empty() || name.value.len() > NAME_BYTES || !name.value.chars().all(plain)
        {
            let hint = "letters, digits, `-`, `_`, `.`, `@` and spaces; at most 64 bytes";
            invalid(cx, &name, "such a name", hint);
            continue;
        }
        let text = name.value.to_string();
        if let Some(first) = seen.get(&text) {
            let message = format!("{} has two of `{kind}` `{text}`", part.what);
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, name.span, message)
                    .related(first.clone(), "the first is here"),
            );
            continue;
        }
        seen.insert(text.clone(), name.span);
        found.push((text, block));
    }
    found
}

fn role(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<Role> {
    if !section.has("role") {
        section.missing(cx, "role", "write `role = \"viewer\"`, or more than that");
    }
    let roles = Role::ALL.map(|role| (role.as_str(), role));
    word(cx, section, "role", &roles).map(|role| role.value)
}

fn granted(
    cx: &mut Evaluator,
    part: &mut Section<'_>,
    (kind, needs): (&'static str, &str),
) -> Vec<(String, Role)> {
    let mut granted = Vec::new();
    for (name, block) in named(cx, part, (kind, needs)) {
        let mut section = Section::of_block(cx, block, format!("{kind} `{}`", shown(&name)));
        let role = role(cx, &mut section);
        section.finish(cx);
        granted.extend(role.map(|role| (name, role)));
    }
    granted
}

fn tokens(cx: &mut Evaluator, part: &mut Section<'_>) -> Vec<TokenGrant> {
    let mut tokens: Vec<TokenGrant> = Vec::new();
    for (name, block) in named(cx, part, ("token", "a token needs a name")) {
        let mut section = Section::of_block(cx, block, format!("token `{}`", shown(&name)));
        let role = role(cx, &mut section);
        if !section.has("sha256") {
            section.missing(cx, "sha256", TOKEN_HINT);
        }
        let sha256 = section.text(cx, "sha256").and_then(|text| {
            let digest = Digest::from_hex(&text.value);
            if digest.is_err() {
                // It may be the token itself, which must not be repeated.
                let message = format!("`sha256` of token `{}` is not 64 hex digits", shown(&name));
                cx.report(
                    Mistake::new(ErrorCode::InvalidValue, text.span, message).hint(TOKEN_HINT),
                );
            }
            digest.ok()
        });
        section.finish(cx);
        let (Some(role), Some(sha256)) = (role, sha256) else { continue };
        if let Some(twin) = tokens.iter().find(|token| token.sha256 == sha256) {
            let message = format!("tokens `{}` and `{name}` are one", twin.name);
            cx.report(Mistake::new(ErrorCode::Conflict, header(block), message).hint(TOKEN_HINT));
            continue;
        }
        tokens.push(TokenGrant { name, role, sha256 });
    }
    tokens
}
