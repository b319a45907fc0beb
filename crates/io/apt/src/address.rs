//! Addresses of archives and of what lies below them.

/// A base address in the form that is kept: known scheme, nothing unprintable, no `/` at its end. `copy:` is `file:`.
pub(crate) fn checked(uri: &str) -> Option<String> {
    let local = uri.strip_prefix("file:").or_else(|| uri.strip_prefix("copy:"));
    let uri = match local {
        Some(path) => format!("file://{}", path.strip_prefix("//").unwrap_or(path)),
        None => uri.to_owned(),
    };
    let known = ["http://", "https://", "file:///"].iter().any(|scheme| uri.starts_with(scheme));
    let clean = !uri.contains(|char: char| char.is_control() || char.is_whitespace());
    (known && clean).then(|| uri.trim_end_matches('/').to_owned())
}

/// The host of an address, without user and port; empty for a directory.
pub(crate) fn host(uri: &str) -> &str {
    let Some((_, rest)) = uri.split_once("://") else { return "" };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if let Some(six) = host.strip_prefix('[') {
        return six.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

/// The address of a file below a base. An index names files as they are called: over HTTP every byte is escaped that
/// means something else there, `%` first of all; `+` and `~` as well, as apt does for the sake of some stores.
pub(crate) fn below(base: &str, path: &str) -> String {
    if base.starts_with("file://") {
        return format!("{base}/{path}");
    }
    let path = path.strip_prefix("./").unwrap_or(path);
    let mut address = format!("{base}/");
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => address.push(char::from(byte)),
            b'/' | b'.' | b'-' | b'_' | b':' | b'@' | b'=' | b',' => address.push(char::from(byte)),
            _ => address.push_str(&format!("%{byte:02x}")),
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_asked_for_by_the_names_they_have() {
        for (path, expected) in [
            ("pool/a_1%3a2.deb", "http://h/d/pool/a_1%253a2.deb"),
            ("./pool/a_1+b~c.deb", "http://h/d/pool/a_1%2bb%7ec.deb"),
            ("pool/a b?#.deb", "http://h/d/pool/a%20b%3f%23.deb"),
            ("pool/a_1:2.deb", "http://h/d/pool/a_1:2.deb"),
        ] {
            assert_eq!(below("http://h/d", path), expected);
        }
        assert_eq!(below("file:///d", "pool/a_1%3a2.deb"), "file:///d/pool/a_1%3a2.deb");
    }

    #[test]
    fn reads_hosts_and_schemes() {
        assert_eq!(host("http://user:word@h.test:80/debian"), "h.test");
        assert_eq!(host("https://[::1]:80/debian"), "::1");
        assert_eq!(host("file:///srv"), "");
        for local in ["copy:/srv/x/", "file:/srv/x", "file:///srv/x", "copy:///srv/x"] {
            assert_eq!(checked(local).as_deref(), Some("file:///srv/x"), "{local}");
        }
        for other in ["cdrom:[x]/", "mirror+http://x/", "ftp://x", "http://a b", "file:x"] {
            assert_eq!(checked(other), None, "{other}");
        }
    }
}
