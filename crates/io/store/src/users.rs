//! Users as the image's own `/etc/passwd` and `/etc/group` know them.

use hornero_model::Digest;

use crate::{Result, Store, StoreError, Tree};

/// Linux's `NGROUPS_MAX`.
const GROUPS_MAX: usize = 65_536;

/// Who a command runs as, as seen inside an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, sorted, without the primary one.
    pub groups: Vec<u32>,
    /// Home directory, `/` when the image does not say.
    pub home: String,
}

impl Store {
    /// Resolves `user` (a name or a number, optionally `:` and a group) in the image.
    ///
    /// Empty means root. A number needs no line in `/etc/passwd`; its group is then its own number.
    pub fn resolve_user(&self, image: &Digest, user: &str) -> Result<User> {
        let tree = self.tree(image)?;
        let passwd = self.read_database(&tree, "/etc/passwd")?;
        let group = self.read_database(&tree, "/etc/group")?;
        resolve(&passwd, &group, user).ok_or_else(|| StoreError::NoUser { user: user.to_owned() })
    }

    /// An image without the file has no users but root and numbers.
    fn read_database(&self, tree: &Tree, path: &str) -> Result<String> {
        match self.read_tree_file(tree, path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(StoreError::NoPath { .. }) => Ok(String::new()),
            Err(error) => Err(error),
        }
    }
}

fn resolve(passwd: &str, group: &str, text: &str) -> Option<User> {
    let (wanted, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let wanted = if wanted.is_empty() { "root" } else { wanted };
    let number: Option<u32> = wanted.parse().ok();
    let line = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 4
            && (fields[0] == wanted
                || number.is_some() && fields[2].parse() == Ok(number.unwrap_or(0)))
    });
    let (name, uid, mut gid, home) = match &line {
        Some(fields) => {
            let home = fields.get(5).filter(|home| home.starts_with('/')).unwrap_or(&"/");
            (fields[0], fields[2].parse().ok()?, fields[3].parse().ok()?, *home)
        }
        None if wanted == "root" => ("root", 0, 0, "/root"),
        None => (wanted, number?, number?, "/"),
    };
    if let Some(wanted) = wanted_group {
        gid = group_id(group, wanted)?;
    }
    let mut groups: Vec<u32> = group
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let is_member = fields.get(3)?.split(',').any(|member| member.trim() == name);
            is_member.then(|| fields[2].parse().ok())?
        })
        .filter(|id| *id != gid)
        .take(GROUPS_MAX)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    Some(User { uid, gid, groups, home: home.to_owned() })
}

fn group_id(group: &str, wanted: &str) -> Option<u32> {
    number(group, wanted).or_else(|| wanted.parse().ok())
}

/// The number that a name has in a text such as `/etc/passwd` or `/etc/group`.
pub(crate) fn number(database: &str, name: &str) -> Option<u32> {
    database.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.first() == Some(&name)).then(|| fields.get(2)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www:/var/www:/usr/sbin/nologin\nbad\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:www-data,sys\nwww-data:x:33:\nssl:x:101:www-data\n";

    fn check(text: &str, expected: Option<(u32, u32, &[u32])>) {
        let user = resolve(PASSWD, GROUP, text);
        let found = user.as_ref().map(|user| (user.uid, user.gid, user.groups.as_slice()));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn names_and_numbers_resolve() {
        check("", Some((0, 0, &[])));
        check("www-data", Some((33, 33, &[4, 101])));
        check("33", Some((33, 33, &[4, 101])));
        check("www-data:adm", Some((33, 4, &[101])));
        check("1000", Some((1000, 1000, &[])));
        check("1000:50", Some((1000, 50, &[])));
        check("nobody-here", None);
        check("www-data:nobody-here", None);
        assert_eq!(resolve("", "", "root").map(|user| user.uid), Some(0));
    }
}
