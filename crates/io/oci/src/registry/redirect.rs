//! Where an answer sends whoever asked: registries keep blobs in storages elsewhere.

use ureq::http::{Method, Uri, header};

use super::client::Answer;

/// Registries send blobs' readers to a storage of their own, once.
pub(super) const REDIRECTS_MAX: usize = 5;

/// The address that the question is to be put to instead; none for an answer that is one, and for questions that are
/// more than a question: what is to be written goes nowhere else.
pub(super) fn target(method: &Method, from: &str, answer: &Answer) -> Option<String> {
    let asks = *method == Method::GET || *method == Method::HEAD;
    let leads = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = answer.headers().get(header::LOCATION)?.to_str().ok()?;
    (asks && leads).then(|| resolve(from, location)).flatten()
}

/// The address that `location` means to who asked at `from` (RFC 3986 section 4.2).
fn resolve(from: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let before_path = &location[..location.find(['/', '?']).unwrap_or(location.len())];
    if before_path.contains(':') {
        return Some(location.to_owned());
    }
    let from: Uri = from.parse().ok()?;
    let (scheme, authority, path) = (from.scheme_str()?, from.authority()?, from.path());
    Some(match location.chars().next() {
        Some('/') if location.starts_with("//") => format!("{scheme}:{location}"),
        Some('/') => format!("{scheme}://{authority}{location}"),
        Some('?') => format!("{scheme}://{authority}{path}{location}"),
        _ => {
            let directory = &path[..path.rfind('/').map_or(0, |at| at + 1)];
            format!("{scheme}://{authority}{directory}{location}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_relative_to_who_gave_them() {
        let from = "https://store.example:444/a/b?key=1";
        for (location, expected) in [
            ("https://other.example/x?y=http://z", "https://other.example/x?y=http://z"),
            ("HTTP://other.example/x#y", "HTTP://other.example/x"),
            ("//other.example/x", "https://other.example/x"),
            ("/x?y=1", "https://store.example:444/x?y=1"),
            ("?y=1", "https://store.example:444/a/b?y=1"),
            ("x/y:z", "https://store.example:444/a/x/y:z"),
            ("", "https://store.example:444/a/"),
        ] {
            assert_eq!(resolve(from, location).as_deref(), Some(expected), "{location}");
        }
    }
}
