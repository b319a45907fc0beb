//! By what a client's requests stick to one release while several share them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What tells one client from another in its requests. Requests without it are shared out one by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// The value of this cookie.
    Cookie(String),
    /// The value of this field of the request, in lower case.
    Header(String),
}

impl Sticky {
    /// Longest name, in bytes.
    pub const NAME_BYTES: usize = 64;

    /// Whether a text can be the name of a cookie or of a field: a token (RFC 9110, 5.6.2) of bounded length.
    pub fn is_name(text: &str) -> bool {
        let is_of_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.len() <= Self::NAME_BYTES && text.bytes().all(is_of_token)
    }
}
