//! How a registry says who may ask it, and addresses that are asked.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but what never has a meaning in an address (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `name="value",name=value` of a challenge (RFC 9110 section 11.2).
pub(super) fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').map_or((after, ""), |(value, rest)| (value, rest)),
        };
        found.insert(name.trim().to_ascii_lowercase(), value.to_owned());
        rest = after.trim_start_matches([',', ' ']);
    }
    found
}

/// Addresses of uploads carry secrets in their query.
pub(super) fn without_query(address: &str) -> String {
    address.split('?').next().unwrap_or_default().to_owned()
}

/// Percent-encodes what has a meaning in a query.
pub(super) fn escape(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let found = parameters(
            r#"realm="https://auth.example/token",service="reg.example",scope="repository:a/b:pull,push""#,
        );
        assert_eq!(found["realm"], "https://auth.example/token");
        assert_eq!(found["service"], "reg.example");
        assert_eq!(found["scope"], "repository:a/b:pull,push");
        assert_eq!(parameters("realm=x, error=\"y\"").len(), 2);
        assert!(parameters("").is_empty());
        assert_eq!(escape("repository:a/b:pull,push"), "repository%3Aa%2Fb%3Apull%2Cpush");
    }
}
