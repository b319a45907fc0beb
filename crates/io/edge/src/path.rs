//! Paths as servers read them, so that a prefix is compared with what it protects (RFC 3986, 6.2.2).

use std::borrow::Cow;

/// The path of a target in its normal form, without query: percent-encodings of characters that need none decoded, dot
/// segments removed. What is passed on stays as it came.
pub(crate) fn normal(target: &[u8]) -> Cow<'_, [u8]> {
    let path = &target[..memchr::memchr(b'?', target).unwrap_or(target.len())];
    if memchr::memchr(b'%', path).is_none() && memchr::memmem::find(path, b"/.").is_none() {
        return Cow::Borrowed(path);
    }
    Cow::Owned(without_dots(&decoded(path)))
}

/// Decodes letters, digits and `-._~` only: any other character means something else encoded than by itself.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let byte = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            Some(_) | None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Removes dot segments (RFC 3986, 5.2.4).
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    if path.first() != Some(&b'/') {
        return path.to_vec();
    }
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    out.truncate(memchr::memrchr(b'/', &out).unwrap_or(0));
                }
                if is_last {
                    out.push(b'/');
                }
            }
            segment => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_servers_read_them() {
        for (target, path) in [
            ("/", "/"),
            ("/api/x?/../y", "/api/x"),
            ("/api/../id", "/id"),
            ("/api/%2e%2E/id", "/id"),
            ("/api/./x", "/api/x"),
            ("/api/..", "/"),
            ("/api/x/..", "/api/"),
            ("/../../x", "/x"),
            ("/%61pi/x", "/api/x"),
            ("/a%2Fb/../c", "/c"),
            ("/a%2fb", "/a%2fb"),
            ("/a%", "/a%"),
            ("/a%zz/.b", "/a%zz/.b"),
            ("/...", "/..."),
            ("/a//../b", "/a/b"),
            ("*", "*"),
            ("", ""),
        ] {
            let normal = String::from_utf8(normal(target.as_bytes()).into_owned()).unwrap();
            assert_eq!(normal, path, "{target}");
        }
    }
}
