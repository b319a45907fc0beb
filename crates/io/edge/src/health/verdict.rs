//! What an answer to a health check says.

use hornero_model::HttpCheck;

use crate::http1::{
    answer::{field_storage, parse_answer},
    body::{Decoder, Piece},
};

/// Most bytes of a body that are searched, as the contract says.
const SEARCHED_BYTES: usize = 64 << 10;

/// What is known of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CheckVerdict {
    /// It passes. With `kept`, it is over and the server keeps the connection for another request.
    Passes { kept: bool },
    /// It does not, and why.
    Fails(String),
}

/// Whether what has come of an answer passes; none while that is not known.
pub(super) fn judge(input: &[u8], ended: bool, check: &HttpCheck) -> Option<CheckVerdict> {
    let mut storage = field_storage();
    let head = match parse_answer(input, false, &mut storage) {
        Ok(Some((head, _, _))) => head,
        Ok(None) => return None,
        Err(_) => return Some(CheckVerdict::Fails("the answer is not HTTP/1.1".to_owned())),
    };
    if head.is_interim() {
        return judge(&input[head.used..], ended, check);
    }
    let expected = match check.status {
        Some(status) => head.status == status,
        None => (200..400).contains(&head.status),
    };
    if !expected {
        let want = check.status.map_or("200 to 399".to_owned(), |status| status.to_string());
        return Some(CheckVerdict::Fails(format!("answered {}, expected {want}", head.status)));
    }
    let (mut decoder, mut body, mut at) = (Decoder::new(head.body), Vec::new(), head.used);
    let complete = loop {
        if decoder.is_over() {
            break true;
        }
        match decoder.next(&input[at..]) {
            Ok(Piece::NeedMore) => break ended && decoder.may_end(),
            Ok(Piece::Data(range)) => {
                if check.contains.is_some() {
                    body.extend_from_slice(&input[at + range.start..at + range.end]);
                }
                at += range.end;
            }
            Ok(Piece::End { used, .. }) => {
                at += used;
                break true;
            }
            Err(_) if check.contains.is_none() => break false,
            Err(_) => {
                return Some(CheckVerdict::Fails("the answer's body is malformed".to_owned()));
            }
        }
    };
    // More than the answer on a connection would be taken for the answer to the next request.
    let passes = CheckVerdict::Passes { kept: head.keep_alive && complete && at == input.len() };
    let Some(wanted) = &check.contains else { return Some(passes) };
    let searched = &body[..body.len().min(SEARCHED_BYTES)];
    if memchr::memmem::find(searched, wanted.as_bytes()).is_some() {
        return Some(passes);
    }
    (complete || body.len() >= SEARCHED_BYTES).then(|| {
        CheckVerdict::Fails(format!("the body does not contain `{}`", wanted.escape_debug()))
    })
}
