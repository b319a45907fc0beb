//! Paths inside an image: bytes, relative to its root, never leaving it.

use std::{cmp::Ordering, fmt};

/// A path of an image such as `etc/passwd`, without a leading slash; empty for the root directory.
///
/// Ordered by components, so that a directory comes before what it holds and its whole subtree is
/// one contiguous run of a sorted list.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(pub(crate) Box<[u8]>);

impl TreePath {
    /// The root directory.
    pub fn root() -> Self {
        Self::default()
    }

    /// The bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components from the top down; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        &self.0[start..]
    }

    /// The directory that holds it; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// Whether `self` lies strictly below `ancestor`.
    pub fn is_below(&self, ancestor: &Self) -> bool {
        if ancestor.is_root() {
            return !self.is_root();
        }
        self.0.len() > ancestor.0.len()
            && self.0.starts_with(&ancestor.0)
            && self.0[ancestor.0.len()] == b'/'
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // `/` counts as the smallest byte: comparing so is comparing component by component.
        let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
        let common = self.0.iter().zip(&other.0).find(|(one, two)| one != two);
        match common {
            Some((one, two)) => rank(*one).cmp(&rank(*two)),
            None => self.0.len().cmp(&other.0.len()),
        }
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Absolute, for people; bytes that are no UTF-8 are replaced.
impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtrees_are_contiguous() {
        let mut paths: Vec<_> = ["a-b", "a/c", "a", "", "a/b/x", "a/b", "a.d", "a/b-c"]
            .map(|p| TreePath::new(p).unwrap())
            .into();
        paths.sort();
        let sorted: Vec<_> = paths
            .iter()
            .map(|path| String::from_utf8_lossy(path.as_bytes()).into_owned())
            .collect();
        assert_eq!(sorted, ["", "a", "a/b", "a/b/x", "a/b-c", "a/c", "a-b", "a.d"]);
    }
}
