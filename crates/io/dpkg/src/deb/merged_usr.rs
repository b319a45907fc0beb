//! Merged `/usr`: where a path of a package really is when `/bin`, `/lib` and their like are symlinks.

/// The directories that are symlinks into `/usr`.
pub const LINKS: [&str; 7] = ["bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin"];

/// The canonical path: `bin/ls` is `usr/bin/ls`; the directories themselves become those in `/usr`.
pub fn canonical(path: &[u8]) -> Vec<u8> {
    let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
    if LINKS.iter().any(|link| link.as_bytes() == first) {
        return [b"usr/".as_slice(), path].concat();
    }
    path.to_vec()
}

/// Both names that a path has where `/usr` is merged, absolute.
pub fn names(path: &[u8]) -> impl Iterator<Item = String> {
    let path = String::from_utf8_lossy(path);
    let short = path.strip_prefix("usr/").filter(|short| {
        let first = short.split('/').next().unwrap_or_default();
        LINKS.contains(&first)
    });
    [short.map(|short| format!("/{short}")), Some(format!("/{path}"))].into_iter().flatten()
}

/// Whether a symlink at a canonical path leads to itself once `/usr` is merged, such as `/sbin/x` to `/usr/sbin/x`.
pub fn leads_to_itself(path: &[u8], target: &[u8]) -> bool {
    let mut parts: Vec<&[u8]> = if target.starts_with(b"/") {
        Vec::new()
    } else {
        let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        parts.pop();
        parts
    };
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    canonical(&parts.join(&b'/')) == path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_move_into_usr() {
        for (path, moved) in [
            ("bin/ls", "usr/bin/ls"),
            ("lib", "usr/lib"),
            ("library/x", "library/x"),
            ("usr/bin/ls", "usr/bin/ls"),
            ("etc/bin/x", "etc/bin/x"),
        ] {
            assert_eq!(canonical(path.as_bytes()), moved.as_bytes());
        }
    }

    #[test]
    fn finds_symlinks_that_would_loop() {
        for (path, target, loops) in [
            ("usr/sbin/x", "/usr/sbin/x", true),
            ("usr/sbin/x", "/sbin/x", true),
            ("usr/bin/x", "../bin/x", true),
            ("usr/sbin/x", "../bin/x", false),
            ("usr/bin/sh", "dash", false),
        ] {
            assert_eq!(leads_to_itself(path.as_bytes(), target.as_bytes()), loops, "{path}");
        }
    }
}
