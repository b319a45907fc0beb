//! Which links forward packets, and who turned that on.
//!
//! The record is the description (`ip link show`: `alias`) of each home's bridge: it lives exactly
//! as long as the bridge, belongs to the same network namespace, and is there for the next home.

use std::{io, path::PathBuf};

use crate::{Error, Result, identity::BRIDGE_PREFIX, rtnetlink::Link};

const OWNER: &str = "hornero home ";
const FORWARDS: &str = "; forwarding turned on at ";
/// The kernel keeps no longer descriptions (`IFALIASZ` less its zero byte).
const ALIAS_MAX_BYTES: usize = 255;

/// The description of a bridge: whose it is and which links the homes made forward.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Description {
    /// The home's path, or its end where it is long.
    pub owner: String,
    /// The links whose forwarding was off before a home turned it on.
    pub forwards: Vec<String>,
}

impl Description {
    /// The owner's path as it is written: the end of a long one.
    pub fn owner_of(home: &std::path::Path) -> String {
        let path = home.to_string_lossy();
        let start = (0..path.len())
            .find(|start| path.is_char_boundary(*start) && path.len() - start <= 120)
            .unwrap_or(path.len());
        path[start..].to_owned()
    }

    pub fn of(link: &Link) -> Option<Self> {
        let text = link.alias.as_deref()?.strip_prefix(OWNER)?;
        let (owner, forwards) = text.rsplit_once(FORWARDS).unwrap_or((text, ""));
        let forwards = forwards.split(' ').filter(|name| !name.is_empty());
        Some(Self { owner: owner.to_owned(), forwards: forwards.map(str::to_owned).collect() })
    }

    pub fn text(&self) -> String {
        let mut text = format!("{OWNER}{}", self.owner);
        for (index, name) in self.forwards.iter().enumerate() {
            let part = format!("{}{name}", if index == 0 { FORWARDS } else { " " });
            if text.len() + part.len() <= ALIAS_MAX_BYTES {
                text.push_str(&part);
            }
        }
        text
    }
}

/// The links that any bridge among `bridges` says were made to forward.
pub(crate) fn turned_on<'a>(bridges: impl Iterator<Item = &'a Link>) -> Vec<String> {
    let mut names: Vec<String> = bridges
        .filter(|link| link.name.starts_with(BRIDGE_PREFIX))
        .filter_map(Description::of)
        .flat_map(|description| description.forwards)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn path(family: &str, link: &str, key: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/{family}/conf/{link}/{key}"))
}

/// Whether a link forwards IPv4 packets that came in by it.
pub(crate) fn is_on(link: &str) -> Result<bool> {
    let path = path("ipv4", link, "forwarding");
    let value = std::fs::read_to_string(&path).map_err(|source| Error::File {
        action: "read",
        path,
        source,
    })?;
    Ok(value.trim() != "0")
}

/// Makes a link forward IPv4 packets, or not.
pub(crate) fn set(link: &str, on: bool) -> Result<()> {
    write(path("ipv4", link, "forwarding"), if on { "1" } else { "0" })
}

/// Turns IPv6 off for a link, or for `all`; a kernel without IPv6 is fine.
pub(crate) fn turn_ipv6_off(link: &str) -> Result<()> {
    match write(path("ipv6", link, "disable_ipv6"), "1") {
        Err(Error::File { source, .. })
            if source.kind() == io::ErrorKind::NotFound
                && std::path::Path::new("/proc/sys/net/ipv4").exists()
                && !std::path::Path::new("/proc/sys/net/ipv6").exists() =>
        {
            Ok(())
        }
        other => other,
    }
}

fn write(path: PathBuf, value: &str) -> Result<()> {
    std::fs::write(&path, value).map_err(|source| Error::File { action: "write", path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_come_back_and_fit() {
        let check = |home: &str, forwards: &[&str]| {
            let description = Description {
                owner: Description::owner_of(home.as_ref()),
                forwards: forwards.iter().map(|name| name.to_string()).collect(),
            };
            let text = description.text();
            assert!(text.len() <= ALIAS_MAX_BYTES, "{text}");
            let alias = Some(text);
            let name = "hrn0".into();
            let link = Link { index: 1, name, alias, group: 0, master: None, operational: true };
            assert_eq!(Description::of(&link), Some(description));
        };
        check("/var/lib/hornero", &[]);
        check("/var/lib/hornero", &["eth0"]);
        check("/var/lib/hornero", &["eth0", "wlan0"]);
        check(&"/é".repeat(200), &["eth0"]);
    }
}
