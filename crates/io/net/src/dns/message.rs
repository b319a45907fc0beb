//! DNS messages, as far as a forwarder must understand them (RFC 1035 section 4, RFC 6891).

use std::net::Ipv4Addr;

/// Queries are small; this leaves room for options and signatures.
pub(super) const QUERY_MAX_BYTES: usize = 4096;
/// What a client without EDNS takes over UDP (RFC 1035 section 4.2.1).
const UDP_DEFAULT_BYTES: usize = 512;
/// What this server says it takes: fits every path without fragments (DNS flag day 2020).
const UDP_OWN_BYTES: u16 = 1232;
/// Short, so that a service's new address is known soon.
const TTL_SECONDS: u32 = 5;

const HEADER_BYTES: usize = 12;
const LABEL_MAX_BYTES: usize = 63;
const NAME_MAX_BYTES: usize = 255;

const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_AUTHORITATIVE: u16 = 0x0400;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const FLAG_RECURSION_AVAILABLE: u16 = 0x0080;
const OPCODE_MASK: u16 = 0x7800;
const CODE_MASK: u16 = 0x000f;

const TYPE_A: u16 = 1;
const TYPE_OPT: u16 = 41;
const TYPE_IXFR: u16 = 251;
const TYPE_AXFR: u16 = 252;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;
const CLASS_ANY: u16 = 255;

/// The response codes this server gives (RFC 1035 section 4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NameError = 3,
    NotImplemented = 4,
    Refused = 5,
}

/// A query with one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query<'a> {
    id: u16,
    flags: u16,
    /// The name without the root, as sent.
    pub labels: Vec<&'a [u8]>,
    kind: u16,
    class: u16,
    /// The question section.
    question: &'a [u8],
    /// What the client takes over UDP, if it speaks EDNS.
    edns_bytes: Option<u16>,
}

/// What is to be done with a message that is no query to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rejection {
    /// Nothing: an answer could not be matched to anything, or would start an endless exchange.
    Silent,
    /// This goes back.
    Answer(Vec<u8>),
}

impl<'a> Query<'a> {
    /// Parses a message from outside.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Rejection> {
        if bytes.len() < HEADER_BYTES {
            return Err(Rejection::Silent);
        }
        let field = |number: usize| u16::from_be_bytes([bytes[number * 2], bytes[number * 2 + 1]]);
        let (id, flags) = (field(0), field(1));
        if flags & FLAG_RESPONSE != 0 {
            return Err(Rejection::Silent);
        }
        // Only these two go back in the answer.
        let flags = flags & (OPCODE_MASK | FLAG_RECURSION_DESIRED);
        let reject = |code| Rejection::Answer(header(id, flags, code, 0, 0, 0));
        if flags & OPCODE_MASK != 0 {
            return Err(reject(Code::NotImplemented));
        }
        let counts = [field(2), field(3), field(4)];
        if bytes.len() > QUERY_MAX_BYTES || counts != [1, 0, 0] {
            return Err(reject(Code::FormatError));
        }
        let rest = &bytes[HEADER_BYTES..];
        let (labels, name_bytes) = name(rest).ok_or_else(|| reject(Code::FormatError))?;
        let question = rest.get(..name_bytes + 4).ok_or_else(|| reject(Code::FormatError))?;
        let tail = &question[name_bytes..];
        Ok(Self {
            id,
            flags,
            labels,
            kind: u16::from_be_bytes([tail[0], tail[1]]),
            class: u16::from_be_bytes([tail[2], tail[3]]),
            question,
            edns_bytes: if field(5) > 0 { edns_bytes(&rest[question.len()..]) } else { None },
        })
    }

    /// Whether the question is one for addresses.
    pub fn asks_for_address(&self) -> bool {
        matches!(self.kind, TYPE_A | TYPE_ANY) && matches!(self.class, CLASS_IN | CLASS_ANY)
    }

    /// Whether the question is one for a whole zone, which no instance needs.
    pub fn asks_for_zone(&self) -> bool {
        matches!(self.kind, TYPE_AXFR | TYPE_IXFR)
    }

    /// How large a response over UDP may be.
    pub fn udp_max_bytes(&self) -> usize {
        self.edns_bytes.map_or(UDP_DEFAULT_BYTES, usize::from).max(UDP_DEFAULT_BYTES)
    }

    /// A response of this server's own: a code, and the address if there is one.
    pub fn respond(&self, code: Code, address: Option<Ipv4Addr>) -> Vec<u8> {
        let own = matches!(code, Code::NoError | Code::NameError);
        let flags = self.flags | if own { FLAG_AUTHORITATIVE } else { 0 };
        let edns = u16::from(self.edns_bytes.is_some());
        let mut bytes = header(self.id, flags, code, 1, u16::from(address.is_some()), edns);
        bytes.extend_from_slice(self.question);
        if let Some(address) = address {
            // The name: the one at offset 12, the question's.
            bytes.extend_from_slice(&[0xc0, HEADER_BYTES as u8]);
            bytes.extend_from_slice(&TYPE_A.to_be_bytes());
            bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
            bytes.extend_from_slice(&TTL_SECONDS.to_be_bytes());
            bytes.extend_from_slice(&4u16.to_be_bytes());
            bytes.extend_from_slice(&address.octets());
        }
        if edns == 1 {
            bytes.push(0);
            bytes.extend_from_slice(&TYPE_OPT.to_be_bytes());
            bytes.extend_from_slice(&UDP_OWN_BYTES.to_be_bytes());
            bytes.extend_from_slice(&[0; 6]);
        }
        bytes
    }

    /// Cuts a response that is too large for UDP down to what tells the client to use TCP.
    pub fn truncated(&self) -> Vec<u8> {
        let mut bytes = header(self.id, self.flags | FLAG_TRUNCATED, Code::NoError, 1, 0, 0);
        bytes.extend_from_slice(self.question);
        bytes
    }

    /// Whether `response` answers this query as sent on under `id`.
    pub fn is_answered_by(&self, response: &[u8], id: u16) -> bool {
        let Some(fixed) = response.get(..HEADER_BYTES) else { return false };
        let question = response.get(HEADER_BYTES..HEADER_BYTES + self.question.len());
        fixed[..2] == id.to_be_bytes()
            && u16::from_be_bytes([fixed[2], fixed[3]]) & FLAG_RESPONSE != 0
            && fixed[4..6] == [0, 1]
            && question.is_some_and(|question| question.eq_ignore_ascii_case(self.question))
    }

    /// The id the client gave the query.
    pub fn id(&self) -> u16 {
        self.id
    }
}

/// Whether a response says that its server, rather than the name, is the trouble.
pub(super) fn is_server_trouble(response: &[u8]) -> bool {
    let code = response.get(3).map_or(0, |byte| u16::from(*byte) & CODE_MASK);
    [Code::ServerFailure, Code::NotImplemented, Code::Refused]
        .iter()
        .any(|trouble| *trouble as u16 == code)
}

/// Gives a message another id.
pub(super) fn set_id(message: &mut [u8], id: u16) {
    message[..2].copy_from_slice(&id.to_be_bytes());
}

fn header(id: u16, flags: u16, code: Code, questions: u16, answers: u16, more: u16) -> Vec<u8> {
    let flags = FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | flags | code as u16;
    [id, flags, questions, answers, 0, more].iter().flat_map(|field| field.to_be_bytes()).collect()
}

/// The labels of the name at the beginning, and how many bytes it takes. A question's name comes
/// first in its message, so it has nothing to point back to.
fn name(bytes: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    let mut labels = Vec::new();
    let mut position = 0;
    loop {
        let length = usize::from(*bytes.get(position)?);
        position += 1;
        if length == 0 {
            return Some((labels, position));
        }
        if length > LABEL_MAX_BYTES {
            return None;
        }
        labels.push(bytes.get(position..position + length)?);
        position += length;
        if position >= NAME_MAX_BYTES {
            return None;
        }
    }
}

/// The size in the OPT record, if that comes first behind the question.
fn edns_bytes(additional: &[u8]) -> Option<u16> {
    let record = additional.get(..11)?;
    let kind = u16::from_be_bytes([record[1], record[2]]);
    (record[0] == 0 && kind == TYPE_OPT).then(|| u16::from_be_bytes([record[3], record[4]]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: u16, more: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!more.is_empty())];
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
        bytes.extend_from_slice(more);
        bytes
    }

    #[test]
    fn a_query_is_understood_and_answered() {
        let bytes = query("Site.internal", TYPE_A, &[]);
        let parsed = Query::parse(&bytes).unwrap();
        assert_eq!(parsed.labels, [&b"Site"[..], b"internal"]);
        assert!(parsed.asks_for_address());
        assert_eq!(parsed.udp_max_bytes(), 512);
        let response = parsed.respond(Code::NoError, Some(Ipv4Addr::new(10, 70, 1, 9)));
        assert_eq!(response[..12], [0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(response[12..bytes.len()], bytes[12..]);
        assert_eq!(response[bytes.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 70, 1, 9]);
    }

    #[test]
    fn edns_is_answered_with_edns() {
        let opt = [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0];
        let bytes = query("site.internal", 28, &opt);
        let parsed = Query::parse(&bytes).unwrap();
        assert!(!parsed.asks_for_address());
        assert_eq!(parsed.udp_max_bytes(), 4096);
        let response = parsed.respond(Code::NameError, None);
        assert_eq!(response[3] & 15, 3);
        assert_eq!(response[response.len() - 11..], [0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn flags_of_answers_are_not_copied_from_queries() {
        let mut bytes = query("example.org", TYPE_A, &[]);
        (bytes[2], bytes[3]) = (0x07, 0xff);
        let response = Query::parse(&bytes).unwrap().respond(Code::Refused, None);
        assert_eq!(response[2..4], [0x81, 0x85]);
    }

    #[test]
    fn what_is_no_query_is_rejected() {
        let good = query("site.internal", TYPE_A, &[]);
        let rejected = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            match Query::parse(&bytes).unwrap_err() {
                Rejection::Silent => None,
                Rejection::Answer(answer) => Some(answer[3] & 15),
            }
        };
        assert_eq!(rejected(&|bytes| bytes.truncate(11)), None);
        assert_eq!(rejected(&|bytes| bytes[2] |= 0x80), None, "a response");
        assert_eq!(rejected(&|bytes| bytes[2] |= 0x28), Some(4), "an update");
        assert_eq!(rejected(&|bytes| bytes[5] = 0), Some(1), "no question");
        assert_eq!(rejected(&|bytes| bytes[5] = 2), Some(1), "two questions");
        assert_eq!(rejected(&|bytes| bytes[7] = 1), Some(1), "an answer");
        assert_eq!(rejected(&|bytes| bytes.truncate(20)), Some(1), "cut short");
        assert_eq!(rejected(&|bytes| bytes[12] = 0xc0), Some(1), "a pointer");
        assert_eq!(rejected(&|bytes| bytes[12] = 64), Some(1), "a long label");
        assert_eq!(rejected(&|bytes| bytes.resize(QUERY_MAX_BYTES + 1, 0)), Some(1), "too large");
        let long = query(&vec!["a".repeat(63); 4].join("."), TYPE_A, &[]);
        assert!(matches!(Query::parse(&long), Err(Rejection::Answer(_))), "a long name");
    }

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let bytes = query("example.org", TYPE_A, &[]);
        let parsed = Query::parse(&bytes).unwrap();
        let answered = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut response = bytes.clone();
            response[2] |= 0x80;
            set_id(&mut response, 7);
            change(&mut response);
            parsed.is_answered_by(&response, 7)
        };
        assert!(answered(&|_| {}));
        assert!(answered(&|response| response[13] = b'E'));
        assert!(!answered(&|response| response[13] = b'f'), "another name");
        assert!(!answered(&|response| response[1] = 8), "another id");
        assert!(!answered(&|response| response[2] &= 0x7f), "a query");
        assert!(!answered(&|response| response.truncate(20)), "cut short");
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(bytes: Vec<u8>) {
            if let Ok(query) = Query::parse(&bytes) {
                prop_assert!(query.respond(Code::NoError, Some(Ipv4Addr::LOCALHOST)).len() >= 12);
            }
        }

        #[test]
        fn anything_behind_a_header_is_parsed_without_panic(
            flags in 0u16..0x8000,
            additional in 0u8..3,
            rest: Vec<u8>,
            response: Vec<u8>,
        ) {
            let [high, low] = flags.to_be_bytes();
            let mut bytes = vec![0, 1, high & 0x87, low, 0, 1, 0, 0, 0, 0, 0, additional];
            bytes.extend_from_slice(&rest);
            if let Ok(query) = Query::parse(&bytes) {
                let reparsed = query.truncated();
                prop_assert_eq!(&reparsed[12..], &bytes[12..reparsed.len()]);
                prop_assert!(!query.is_answered_by(&bytes, 1), "a query is no answer");
                let _ = (query.is_answered_by(&response, 0), is_server_trouble(&response));
            }
        }
    }
}
