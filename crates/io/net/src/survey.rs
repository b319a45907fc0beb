//! What a home's network finds on this host before anything of it is made. Looks only, and changes nothing.

use std::path::{Path, PathBuf};

use crate::{
    Error, Result, Subnet, filter, forwarding,
    identity::Identity,
    netlink::Socket,
    rtnetlink::{self, Link},
    state,
};

/// At most so many overlapping networks are told; a host with more is told by these.
const OVERLAPS_TOLD: usize = 4;

/// What a home's network finds on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSurvey {
    /// The name of the home's bridge, there or not.
    pub bridge: String,
    /// Whether that bridge is there.
    pub bridge_exists: bool,
    /// The home's subnet, where it has one already.
    pub subnet: Option<Subnet>,
    /// Networks of the host that overlap the home's subnet, such as a VPN's `10.64.0.0/10`.
    pub overlaps: Vec<String>,
    /// Whether the home has no subnet and none is free; then `overlaps` tells what is in the way.
    pub no_subnet: bool,
    /// The links that default routes leave by, and whether they forward, where that can be read.
    pub uplinks: Vec<(String, Option<bool>)>,
    /// Why bridges and pairs of links can't be made here; `None` where they can, or where the caller may not try.
    pub links_fault: Option<String>,
    /// Why the kernel does not take a home's packet filter; `None` where it does, or where the caller may not try.
    pub filter_fault: Option<String>,
}

/// Looks at this host's network for the home in this directory, which need not exist yet.
///
/// # Errors
/// Where the kernel can't be asked, or what the home remembers of its network can't be read.
pub fn survey(home: &Path) -> Result<NetworkSurvey> {
    let identity = Identity::of(&future_path(home));
    let socket = Socket::route()?;
    let links = rtnetlink::links(&socket)?;
    let bridge = links.iter().find(|link| link.name == identity.bridge());
    let in_use = rtnetlink::networks_in_use(&socket, bridge.map(|link| link.index))?;
    let subnet = state::load(home)?.map(|state| state.subnet);
    let mut overlaps: Vec<String> = Vec::new();
    if let Some(subnet) = subnet {
        overlaps = subnet.overlapping(&in_use).map(ToString::to_string).collect();
    }
    let free = subnet.or_else(|| Subnet::choose(identity.seed(), &in_use));
    if free.is_none() {
        overlaps = in_use.iter().map(ToString::to_string).collect();
    }
    overlaps.dedup();
    overlaps.truncate(OVERLAPS_TOLD);
    Ok(NetworkSurvey {
        bridge: identity.bridge(),
        bridge_exists: bridge.is_some(),
        subnet,
        overlaps,
        no_subnet: free.is_none(),
        uplinks: uplinks(&socket, &links)?,
        links_fault: links_fault(&socket)?,
        filter_fault: free.map(|subnet| filter_fault(identity, subnet)).transpose()?.flatten(),
    })
}

/// The path that a home has once it is made: links in what leads to it are followed.
fn future_path(home: &Path) -> PathBuf {
    for ancestor in home.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            return match home.strip_prefix(ancestor) {
                Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
                Ok(_) | Err(_) => real,
            };
        }
    }
    home.to_owned()
}

fn uplinks(socket: &Socket, links: &[Link]) -> Result<Vec<(String, Option<bool>)>> {
    let indexes = rtnetlink::default_route_links(socket)?;
    let outside = links.iter().filter(|link| indexes.contains(&link.index));
    Ok(outside.map(|link| (link.name.clone(), forwarding::is_on(&link.name).ok())).collect())
}

/// Asks the kernel for links that it refuses to make, for how it refuses: it knows the kind, or not.
fn links_fault(socket: &Socket) -> Result<Option<String>> {
    for (kind, option) in [("bridge", "CONFIG_BRIDGE"), ("veth", "CONFIG_VETH")] {
        match rtnetlink::ask_for_kind(socket, kind) {
            Ok(()) | Err(Error::NotPermitted { .. }) => {}
            Err(Error::Kernel { source, .. })
                if source.raw_os_error() == Some(libc::EOPNOTSUPP) =>
            {
                return Ok(Some(format!("the kernel makes no `{kind}` links ({option})")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn filter_fault(identity: Identity, subnet: Subnet) -> Result<Option<String>> {
    let checked = Socket::netfilter().and_then(|socket| {
        // Asking takes the kernel some ten milliseconds, and it has taken these rules.
        match filter::homes(&socket)?.contains(&identity) {
            true => Ok(()),
            false => filter::check(&socket, identity, subnet),
        }
    });
    match checked {
        Ok(()) | Err(Error::NotPermitted { .. }) => Ok(None),
        Err(error @ Error::MissingKernelFeature { .. }) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_is_not_there_has_the_bridge_that_it_will_have() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(future_path(&link.join("a/home")), real.join("a/home"));
        std::fs::create_dir_all(real.join("a/home")).unwrap();
        assert_eq!(future_path(&link.join("a/home")), real.join("a/home"));
    }
}
