//! Users and groups of an image, by name or number.

use hornero_store::{Store, Tree};

/// `/etc/passwd` and `/etc/group` of a tree.
pub(crate) struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// Reads both; a missing file has nobody.
    pub(crate) fn read(store: &Store, tree: &Tree) -> Self {
        let read = |path| {
            let bytes = store.read_tree_file(tree, path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Self { passwd: read("etc/passwd"), group: read("etc/group") }
    }

    /// User id and primary group of a user; a number needs no entry, its group is then the same number.
    pub(crate) fn user(&self, name: &str) -> Option<(u32, u32)> {
        let number: Option<u32> = name.parse().ok();
        let entry = self.passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let id: u32 = fields.get(2)?.parse().ok()?;
            let group: u32 = fields.get(3)?.parse().ok()?;
            let fits = fields[0] == name || number == Some(id);
            fits.then_some((id, group))
        });
        entry
            .or_else(|| number.map(|id| (id, id)))
            .or_else(|| matches!(name, "" | "root").then_some((0, 0)))
    }

    /// A group's id.
    pub(crate) fn group(&self, name: &str) -> Option<u32> {
        let entry = self.group.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields[0] == name).then(|| fields.get(2)?.parse().ok())?
        });
        entry.or_else(|| name.parse().ok()).or_else(|| (name == "root").then_some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_accounts_by_name_and_number() {
        let accounts = Accounts {
            passwd: "root:x:0:0::/root:/bin/sh\nwww-data:x:33:34::/:/bin/false\n".to_owned(),
            group: "www-data:x:33:\n".to_owned(),
        };
        for (name, expected) in [
            ("www-data", Some((33, 34))),
            ("33", Some((33, 34))),
            ("1000", Some((1000, 1000))),
            ("", Some((0, 0))),
            ("nobody", None),
        ] {
            assert_eq!(accounts.user(name), expected, "{name}");
        }
        assert_eq!(accounts.group("www-data"), Some(33));
        assert_eq!(accounts.group("7"), Some(7));
        assert_eq!(accounts.group("staff"), None);
    }
}
