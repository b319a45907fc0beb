//! Paths as servers read them, so that a prefix is compared with what it protects (RFC 3986, 6.2.2).

use std::borrow::Cow;

/// The path of a target without query, where every server reads it alike; none where that takes a closer look.
pub(crate) fn plain(target: &[u8]) -> Option<&[u8]> {
    let path = without_query(target);
    let mut after_slash = false;
    for byte in path {
        match byte {
            b'%' | b';' | b'\\' => return None,
            b'/' | b'.' if after_slash => return None,
            _ => after_slash = *byte == b'/',
        }
    }
    Some(path)
}

/// The path of a target in its normal form, without query: percent-encodings of characters that need none decoded, of
/// several slashes one left, dot segments removed. What is passed on stays as it came.
pub(crate) fn normal(target: &[u8]) -> Cow<'_, [u8]> {
    plain(target).map_or_else(
        || Cow::Owned(without_dots(&merged(&decoded(without_query(target), is_unreserved)))),
        Cow::Borrowed,
    )
}

/// How servers read a path that do not read it as its normal form is: those that keep empty segments, and those that
/// decode everything, cut parameters off segments (`..;x`) and take `\` for `/`.
pub(crate) fn other_readings(target: &[u8]) -> [Vec<u8>; 2] {
    let path = without_query(target);
    let unmerged = without_dots(&decoded(path, is_unreserved));
    // Without dots an empty segment leads nowhere else.
    let unmerged = if has_dots(path) { unmerged } else { normal(target).into_owned() };
    let mut everything = decoded(path, |_| true);
    everything.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    let bare = everything
        .split(|byte| *byte == b'/')
        .map(|segment| &segment[..memchr::memchr(b';', segment).unwrap_or(segment.len())]);
    let bare = bare.collect::<Vec<_>>().join(&b'/');
    [unmerged, without_dots(&merged(&bare))]
}

fn without_query(target: &[u8]) -> &[u8] {
    &target[..memchr::memchr(b'?', target).unwrap_or(target.len())]
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn has_dots(path: &[u8]) -> bool {
    let decoded = decoded(path, is_unreserved);
    decoded.split(|byte| *byte == b'/').any(|segment| segment == b"..")
}

/// Decodes what `wanted` says, which for a normal form is letters, digits and `-._~` only: any other character means
/// something else encoded than by itself.
fn decoded(path: &[u8], wanted: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let byte = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match byte {
            Some(byte) if wanted(byte) => {
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

/// Leaves one of several slashes in a row.
fn merged(path: &[u8]) -> Vec<u8> {
    let mut out = path.to_vec();
    out.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
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
            ("/a//../b", "/b"),
            ("//api///x", "/api/x"),
            ("/api;v=1/x", "/api;v=1/x"),
            ("*", "*"),
            ("", ""),
        ] {
            let normal = String::from_utf8(normal(target.as_bytes()).into_owned()).unwrap();
            assert_eq!(normal, path, "{target}");
        }
    }

    #[test]
    fn other_servers_read_a_path_in_other_ways() {
        for (target, unmerged, everything) in [
            ("/admin//../x", "/admin/x", "/x"),
            ("//admin/x", "/admin/x", "/admin/x"),
            ("/api/..;x/id", "/api/..;x/id", "/id"),
            ("/api/%2e%2e;/id?/../x", "/api/..;/id", "/id"),
            ("/api%2f..%2fid", "/api%2f..%2fid", "/id"),
            ("/api/..\\id", "/api/..\\id", "/id"),
            ("/api/..%5Cid", "/api/..%5Cid", "/id"),
            ("/%2561pi", "/%2561pi", "/%61pi"),
        ] {
            let readings = other_readings(target.as_bytes());
            let readings = readings.map(|reading| String::from_utf8(reading).unwrap());
            assert_eq!(readings, [unmerged, everything], "{target}");
        }
    }

    /// A path as nginx reads it, written with a stack of segments and nothing else in common with the code above.
    fn as_nginx(path: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = path.bytes();
        while let Some(byte) = rest.next() {
            let digits: String = rest.clone().take(2).map(char::from).collect();
            match u8::from_str_radix(&digits, 16) {
                Ok(value) if byte == b'%' && digits.len() == 2 && !digits.starts_with('+') => {
                    bytes.push(value);
                    rest.nth(1);
                }
                _ => bytes.push(byte),
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut stack: Vec<&str> = Vec::new();
        for segment in text.split('/').filter(|segment| !segment.is_empty()) {
            match segment {
                "." => {}
                ".." => drop(stack.pop()),
                segment => stack.push(segment),
            }
        }
        format!("/{}", stack.join("/"))
    }

    proptest::proptest! {
        #[test]
        fn every_target_has_a_normal_form(target in "[/.%;?\\\\a-c2efF5cC]{0,24}") {
            let once = normal(target.as_bytes()).into_owned();
            for reading in [vec![once.clone()], other_readings(target.as_bytes()).to_vec()].concat() {
                let text = String::from_utf8_lossy(&reading);
                proptest::prop_assert!(!target.starts_with('/') || !text.contains("/../"), "{text}");
            }
            proptest::prop_assert!(!once.starts_with(b"/") || !once.windows(2).any(|two| two == b"//"));
        }

        #[test]
        fn what_no_reading_leads_out_of_nginx_leaves_inside(rest in "[/.%;a-c2efF5cC]{0,24}") {
            let target = format!("/api/{rest}");
            let readings = other_readings(target.as_bytes());
            let inside = |path: &[u8]| path == b"/api" || path.starts_with(b"/api/");
            if inside(&normal(target.as_bytes())) && readings.iter().all(|path| inside(path)) {
                let read = as_nginx(&target);
                // A parameter can hide a segment that nginx keeps, which only leads further down.
                proptest::prop_assert!(inside(read.as_bytes()) || rest.contains(';'), "{read}");
            }
        }
    }
}
