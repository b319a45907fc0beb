//! Package URLs: the name that scanners and inventories know a Debian package by.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What the specification has percent-encoded; a colon, as of an epoch, stays.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~').remove(b':');

/// A Debian package as a package URL: `pkg:deb/debian/NAME@VERSION?arch=ARCH&distro=DISTRO`, in the canonical form of
/// the package URL specification (ECMA-427), so that equal packages have equal texts everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DebianPurl<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version, with epoch and revision.
    pub version: &'a str,
    /// Its architecture, or `all`.
    pub architecture: &'a str,
    /// The distribution it is for, such as `debian-12`; empty where that is not known.
    pub distribution: &'a str,
}

impl fmt::Display for DebianPurl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.to_lowercase();
        let [name, version, architecture, distribution] =
            [name.as_str(), self.version, self.architecture, self.distribution]
                .map(|part| utf8_percent_encode(part, ENCODED));
        write!(f, "pkg:deb/debian/{name}@{version}?arch={architecture}")?;
        if !self.distribution.is_empty() {
            write!(f, "&distro={distribution}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_canonical() {
        let rows = [
            (
                "attr",
                "1:2.4.47-2+b1",
                "amd64",
                "debian-12",
                "pkg:deb/debian/attr@1:2.4.47-2%2Bb1?arch=amd64&distro=debian-12",
            ),
            (
                "libstdc++6",
                "12.2.0-14~deb12u1",
                "all",
                "",
                "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14~deb12u1?arch=all",
            ),
            (
                "odd",
                "1 2/3@4?5&6#7=é",
                "amd64",
                "debian-13",
                "pkg:deb/debian/odd@1%202%2F3%404%3F5%266%237%3D%C3%A9?arch=amd64&distro=debian-13",
            ),
        ];
        for (name, version, architecture, distribution, expected) in rows {
            let purl = DebianPurl { name, version, architecture, distribution };
            assert_eq!(purl.to_string(), expected);
        }
    }
}
