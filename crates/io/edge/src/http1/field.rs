//! Fields of HTTP/1.1: what they mean to a proxy, how their values are read strictly, and how they are written.

use httparse::Header;

/// What a field means to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// Nothing: it is passed on, unless `Connection` names it.
    Pass,
    /// It ends here.
    Drop,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Expect,
    Upgrade,
    Te,
    MaxForwards,
}

/// The meaning of a request field.
///
/// A name that differs from one with a meaning only by `_` for `-` ends here: CGI and its heirs take both for the
/// same, so that a client could say what only the edge may.
pub(crate) fn classify(name: &str) -> Field {
    match classify_exactly(name) {
        Field::Pass if name.contains('_') => match classify_exactly(&name.replace('_', "-")) {
            Field::Pass => Field::Pass,
            Field::Drop
            | Field::Host
            | Field::ContentLength
            | Field::TransferEncoding
            | Field::Connection
            | Field::Expect
            | Field::Upgrade
            | Field::Te
            | Field::MaxForwards => Field::Drop,
        },
        field => field,
    }
}

/// Decided by length first, as most names match nothing.
fn classify_exactly(name: &str) -> Field {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 if is("te") => Field::Te,
        4 if is("host") => Field::Host,
        6 if is("expect") => Field::Expect,
        7 if is("upgrade") => Field::Upgrade,
        9 if is("forwarded") || is("x-real-ip") => Field::Drop,
        10 if is("connection") => Field::Connection,
        10 if is("keep-alive") => Field::Drop,
        12 if is("max-forwards") => Field::MaxForwards,
        14 if is("content-length") => Field::ContentLength,
        14 if is("http2-settings") => Field::Drop,
        15 if is("x-forwarded-for") => Field::Drop,
        16 if is("x-forwarded-host") || is("x-forwarded-port") || is("proxy-connection") => {
            Field::Drop
        }
        17 if is("transfer-encoding") => Field::TransferEncoding,
        17 if is("x-forwarded-proto") => Field::Drop,
        _ => Field::Pass,
    }
}

/// Digits only: no sign, no list, no blanks inside.
pub(crate) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The elements of a comma-separated list.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Whether `Connection` names this field, so that it ends here.
pub(crate) fn named_by(headers: &[Header<'_>], name: &str) -> bool {
    headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("connection"))
        .flat_map(|header| tokens(header.value))
        .any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
}

/// Whether every LF in `head` has its CR: httparse takes either, others do not.
pub(crate) fn lines_end_in_crlf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|place| place > 0 && head[place - 1] == b'\r')
}

/// Writes one field.
pub(crate) fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The values of a field in the head of a message that was read before, in their order.
pub(crate) fn values<'h>(head: &'h [u8], name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    head.split(|byte| *byte == b'\n').filter_map(move |line| {
        let (own, rest) = line.split_at_checked(name.len())?;
        let value =
            rest.strip_prefix(b":").filter(|_| own.eq_ignore_ascii_case(name.as_bytes()))?;
        Some(value.trim_ascii())
    })
}
