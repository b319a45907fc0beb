//! Where an answer sends whoever asked: registries keep blobs in storages elsewhere.

use std::net::{IpAddr, ToSocketAddrs as _};

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

/// Whether a registry at `from` may send whoever asks to `to`. Only one that is on this host itself may name its loopback
/// or an address of its link, where the host's own services and a cloud's metadata are.
pub(super) fn may_lead(from: &str, to: &str) -> bool {
    let near = |address: &str| {
        let uri: Option<Uri> = address.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // A name that can't be resolved leads nowhere, or to a proxy.
        let found = (host, 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        found.unwrap_or_default().iter().any(|address| is_near(address.ip()))
    };
    !near(to) || near(from)
}

fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_link_local() || address.octets()[0] == 0
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local()
        }
    }
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
    fn nobody_elsewhere_leads_to_this_host() {
        let far = "https://192.0.2.7/v2/";
        for near in [
            "http://127.0.0.1:2019/config",
            "https://127.9.9.9/x",
            "http://localhost:80/",
            "http://user@localhost/",
            "http://[::1]:80/x",
            "http://[::ffff:127.0.0.1]/x",
            "http://0.0.0.0:80/",
            "http://0:80/",
            "http://2130706433/",
            "http://169.254.169.254/latest/meta-data",
            "http://[fe80::1]/x",
        ] {
            assert!(!may_lead(far, near), "{near}");
            assert!(may_lead("http://127.0.0.1:5000/v2/", near), "{near}");
        }
        for elsewhere in
            ["https://192.0.2.8/blob", "https://10.0.0.7/blob", "https://[2001:db8::1]/"]
        {
            assert!(may_lead(far, elsewhere), "{elsewhere}");
        }
    }

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
