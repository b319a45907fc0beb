//! What a registry answers, and why an attempt gave no answer.

use std::io::Read;

use serde::Deserialize;
use ureq::http::Response;

use crate::{OciError, Result};

/// Answers that say why something was refused.
const TEXT_BYTES_MAX: u64 = 64 << 10;

/// What came back.
pub(super) type Answer = Response<ureq::Body>;

/// Why one attempt gave no answer that counts.
pub(super) enum AttemptFailure {
    /// It will not get better.
    Final(OciError),
    /// It may.
    Again(String),
}

impl From<OciError> for AttemptFailure {
    fn from(error: OciError) -> Self {
        Self::Final(error)
    }
}

/// The whole body, which may have at most `limit` bytes.
pub(super) fn body(answer: Answer, limit: u64) -> Result<Vec<u8>, AttemptFailure> {
    let mut out = Vec::new();
    let mut reader = answer.into_body().into_with_config().limit(u64::MAX).reader().take(limit + 1);
    reader.read_to_end(&mut out).map_err(|error| AttemptFailure::Again(error.to_string()))?;
    if out.len() as u64 > limit {
        let reason = format!("it is larger than {limit} bytes");
        return Err(OciError::refused("answer of the registry", reason).into());
    }
    Ok(out)
}

/// What a registry's error document says, for people.
pub(super) fn explanation(answer: Answer) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(bytes) = body(answer, TEXT_BYTES_MAX) else { return String::new() };
    let Ok(Errors { errors }) = serde_json::from_slice(&bytes) else { return String::new() };
    let clean =
        |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(200).collect() };
    errors
        .first()
        .map_or_else(String::new, |one| format!(" ({}: {})", clean(&one.code), clean(&one.message)))
}
