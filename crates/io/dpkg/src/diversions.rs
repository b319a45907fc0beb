//! What dpkg's database says of single paths: diversions (dpkg-divert(1)) and owners or modes that were set by hand
//! (dpkg-statoverride(1)).

use std::collections::HashMap;

use crate::deb::merged_usr;

/// Where dpkg keeps diversions, below its directory.
pub const DIVERSIONS_PATH: &str = "var/lib/dpkg/diversions";
/// Where dpkg keeps owners and modes that were set by hand.
pub const OVERRIDES_PATH: &str = "var/lib/dpkg/statoverride";

/// Paths at which the files of all packages but one are placed elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Diversions {
    /// By canonical path without a leading `/`: where it leads to, and whose file is not diverted.
    by_path: HashMap<Vec<u8>, (Vec<u8>, String)>,
}

impl Diversions {
    /// Reads dpkg's file: three lines each, the path, where it leads to, and the package or `:`.
    pub fn parse(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let canonical = |path: &str| merged_usr::canonical(path.trim_start_matches('/').as_bytes());
        let by_path = lines
            .chunks_exact(3)
            .map(|three| (canonical(three[0]), (canonical(three[1]), three[2].to_owned())))
            .collect();
        Self { by_path }
    }

    /// Where a file of a package that belongs at a canonical path really is.
    pub fn target<'d>(&'d self, path: &'d [u8], package: &str) -> &'d [u8] {
        match self.by_path.get(path) {
            Some((target, owner)) if owner != package => target,
            Some(_) | None => path,
        }
    }

    /// Whether nothing is diverted.
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }
}

/// The owner and mode that a path was given by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// A user's name, or `#` and a number.
    pub user: String,
    /// A group's name, or `#` and a number.
    pub group: String,
    /// Its mode.
    pub mode: u32,
}

/// Reads dpkg's file: a line each, user, group, mode in octal and path; by canonical path.
pub fn parse_overrides(text: &str) -> HashMap<Vec<u8>, Override> {
    let one = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let (user, group) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mode = u32::from_str_radix(words.next()?, 8).ok()? & 0o7777;
        let path = merged_usr::canonical(words.next()?.trim_start_matches('/').as_bytes());
        Some((path, Override { user, group, mode }))
    };
    text.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_are_diverted() {
        let read = Diversions::parse("/bin/zcat\n/bin/zcat.gzip\nzutils\n/etc/x\n/etc/y\n:\n");
        for (path, package, target) in [
            ("usr/bin/zcat", "gzip", "usr/bin/zcat.gzip"),
            ("usr/bin/zcat", "zutils", "usr/bin/zcat"),
            ("etc/x", "any", "etc/y"),
            ("etc/y", "any", "etc/y"),
        ] {
            assert_eq!(read.target(path.as_bytes(), package), target.as_bytes(), "{path}");
        }
        assert!(Diversions::parse("").is_empty());
    }

    #[test]
    fn overrides_are_read_by_path() {
        let read = parse_overrides("root utmp 2755 /bin/screen\n#7 #8 0640 /etc/a b\nodd\n");
        let one = |user: &str, group: &str, mode| Override {
            user: user.to_owned(),
            group: group.to_owned(),
            mode,
        };
        assert_eq!(read[b"usr/bin/screen".as_slice()], one("root", "utmp", 0o2755));
        assert_eq!(read[b"etc/a b".as_slice()], one("#7", "#8", 0o640));
        assert_eq!(read.len(), 2);
    }
}
