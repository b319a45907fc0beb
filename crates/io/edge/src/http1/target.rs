//! Where a request is to go, as its head says: target, host, and how often it may be forwarded.

use super::field::parse_length;

/// Authority (of the absolute form) and the target in origin form, but for the `/` that a target without a path lacks.
pub(super) fn split_target<'a>(
    method: &str,
    target: &'a str,
) -> Option<(Option<&'a [u8]>, &'a str)> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return (!target.contains('#')).then_some((None, target));
    }
    let scheme = target.find("://")?;
    if !target[..scheme].eq_ignore_ascii_case("http")
        && !target[..scheme].eq_ignore_ascii_case("https")
    {
        return None;
    }
    let rest = &target[scheme + 3..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    if end == 0 || rest.contains('#') {
        return None;
    }
    let path = match &rest[end..] {
        // RFC 9112, 3.2.4.
        "" if method == "OPTIONS" => "*",
        "" => "/",
        path => path,
    };
    Some((Some(&rest.as_bytes()[..end]), path))
}

/// The host without port and final dot; none if it has a character that no host has.
pub(crate) fn host_name(host: &[u8]) -> Option<&[u8]> {
    let valid = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'%' | b'~')
    };
    if !host.iter().all(valid) {
        return None;
    }
    let (name, port) = if host.first() == Some(&b'[') {
        let end = memchr::memchr(b']', host)? + 1;
        (&host[..end], &host[end..])
    } else {
        let end = memchr::memchr(b':', host).unwrap_or(host.len());
        (&host[..end], &host[end..])
    };
    let port_valid = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    port_valid.then(|| name.strip_suffix(b".").unwrap_or(name))
}

/// How often a request may still be forwarded (RFC 9110, 7.6.2).
pub(crate) fn max_forwards(value: &[u8]) -> Result<u64, ()> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(());
    }
    // More than fits is more than any path is long.
    Ok(parse_length(value).unwrap_or(u64::MAX))
}

/// The answer to a TRACE or OPTIONS that may be forwarded no further. What TRACE would give back may hold secrets.
pub(crate) fn last_hop(method: &str) -> (u16, &'static str) {
    match method {
        "OPTIONS" => (200, "forwarded no further"),
        _ => (405, "requests are not given back"),
    }
}
