//! Users and groups that an image's files and command have, by name and number.

use std::collections::BTreeMap;

use hornero_model::Digest;

use crate::{
    facts::User,
    layer::Layer,
    refusal::{RebaseRefusal, RefusalKind},
    view::{Found, View},
};

const PASSWD: &[u8] = b"etc/passwd";
const GROUP: &[u8] = b"etc/group";

/// The accounts of a tree.
#[derive(Clone, Copy)]
pub(crate) struct Accounts<'v> {
    users: &'v [User],
    groups: &'v [(String, u32)],
}

impl<'v> Accounts<'v> {
    pub fn of(view: &View<'v>) -> Self {
        let facts =
            |found: Option<(Vec<u8>, Found<'v>)>| found.map(|(_, found)| found.layer.facts());
        let users = facts(view.file(PASSWD)).and_then(|facts| facts.users.as_deref());
        let groups = facts(view.file(GROUP)).and_then(|facts| facts.groups.as_deref());
        Self { users: users.unwrap_or_default(), groups: groups.unwrap_or_default() }
    }

    fn uid(self, name: &str) -> Option<u32> {
        self.users.iter().find(|user| user.name == name).map(|user| user.uid)
    }

    fn user(self, uid: u32) -> Option<&'v str> {
        self.users.iter().find(|user| user.uid == uid).map(|user| user.name.as_str())
    }

    /// The primary group of whom a command runs as; a number without an account has its own.
    fn primary(self, user: &str) -> Option<u32> {
        let number: Option<u32> = user.parse().ok();
        let mut users = self.users.iter();
        let account = users.find(|account| account.name == user || number == Some(account.uid));
        account.map(|account| account.gid).or(number)
    }

    fn gid(self, name: &str) -> Option<u32> {
        self.groups.iter().find(|group| group.0 == name).map(|group| group.1)
    }

    fn group(self, gid: u32) -> Option<&'v str> {
        self.groups.iter().find(|group| group.1 == gid).map(|group| group.0.as_str())
    }
}

/// The owners of a layer's files, each with the first file it owns.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    users: BTreeMap<u32, u32>,
    groups: BTreeMap<u32, u32>,
}

impl Owners {
    pub fn of(layer: &Layer) -> Self {
        let mut owners = Self::default();
        for (number, entry) in (0_u32..).zip(layer.entries()) {
            if entry.kind != crate::entry::Kind::Whiteout {
                owners.users.entry(entry.uid).or_insert(number);
                owners.groups.entry(entry.gid).or_insert(number);
            }
        }
        owners
    }
}

/// The accounts of the old and the new tree, and of the new base alone.
pub(crate) struct Both<'v> {
    pub old: Accounts<'v>,
    pub new: Accounts<'v>,
    pub base: Accounts<'v>,
}

impl Both<'_> {
    /// What changed among the accounts that an image uses; `user` is whom its command runs as.
    pub fn refusals<'l>(
        &self,
        owners: impl Iterator<Item = (&'l Layer, &'l Owners)>,
        user: &str,
    ) -> Vec<RebaseRefusal> {
        let mut refusals: BTreeMap<String, RebaseRefusal> = BTreeMap::new();
        let mut refuse = |need: String, found: String, path: &[u8], layer: Option<Digest>| {
            let kind = RefusalKind::AccountChanged;
            let refusal = RebaseRefusal::of_file(kind, path, layer, need.clone(), found);
            refusals.entry(need).or_insert(refusal);
        };
        for (layer, owners) in owners {
            let digest = Some(layer.digest);
            for (uid, number) in &owners.users {
                if let Some((need, found)) = self.user_changed(*uid) {
                    refuse(need, found, &layer.entry(*number).path, digest);
                }
            }
            for (gid, number) in &owners.groups {
                if let Some((need, found)) = self.group_changed(*gid) {
                    refuse(need, found, &layer.entry(*number).path, digest);
                }
            }
        }
        let (user, group) =
            user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
        if let Some(uid) = user.parse().ok().or_else(|| self.old.uid(user))
            && let Some((need, found)) = self.user_changed(uid)
        {
            refuse(need, found, PASSWD, None);
        }
        match group {
            Some(group) => {
                if let Some(gid) = group.parse().ok().or_else(|| self.old.gid(group))
                    && let Some((need, found)) = self.group_changed(gid)
                {
                    refuse(need, found, GROUP, None);
                }
            }
            None => {
                if let (Some(was), Some(is)) = (self.old.primary(user), self.new.primary(user))
                    && was != is
                {
                    let primary = |gid: u32| format!("`{user}` with the primary group {gid}");
                    refuse(format!("the user {}", primary(was)), primary(is), PASSWD, None);
                }
            }
        }
        refusals.into_values().collect()
    }

    fn user_changed(&self, uid: u32) -> Option<(String, String)> {
        let changed = |new: Accounts<'_>, whole: bool| match self.old.user(uid) {
            Some(name) => match new.uid(name) {
                Some(now) if now == uid => None,
                Some(now) => Some((
                    format!("the user `{name}` with number {uid}"),
                    format!("`{name}` with number {now}"),
                )),
                None if whole => {
                    Some((format!("the user `{name}` with number {uid}"), format!("no `{name}`")))
                }
                None => None,
            },
            None => new.user(uid).map(|name| {
                (format!("the user number {uid} without a name"), format!("it as `{name}`"))
            }),
        };
        changed(self.new, true).or_else(|| changed(self.base, false))
    }

    fn group_changed(&self, gid: u32) -> Option<(String, String)> {
        let changed = |new: Accounts<'_>, whole: bool| match self.old.group(gid) {
            Some(name) => match new.gid(name) {
                Some(now) if now == gid => None,
                Some(now) => Some((
                    format!("the group `{name}` with number {gid}"),
                    format!("`{name}` with number {now}"),
                )),
                None if whole => {
                    Some((format!("the group `{name}` with number {gid}"), format!("no `{name}`")))
                }
                None => None,
            },
            None => new.group(gid).map(|name| {
                (format!("the group number {gid} without a name"), format!("it as `{name}`"))
            }),
        };
        changed(self.new, true).or_else(|| changed(self.base, false))
    }
}
