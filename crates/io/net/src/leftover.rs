//! What homes that are gone have left in the kernel, and its removal.
//!
//! A `down` that is killed leaves a home's bridge or its tables behind, and where the home's
//! directory is then deleted nobody's `down` repeats it. The tables would go on dropping what
//! another home with the same subnet sends. Everything here happens under the host's lock, so that
//! no home is half made or half removed while it is looked at.

use std::{io, net::Ipv4Addr, path::Path};

use crate::{
    Error, Result, dns, filter,
    forwarding::{self, Description},
    identity::Identity,
    netlink::{Batch, Socket},
    rtnetlink::{self, Link},
};

/// Removes everything that one home has in the kernel. Links go before the packet filter: as long
/// as an instance is connected it stays protected.
pub(crate) fn remove(socket: &Socket, links: &[Link], identity: Identity) -> Result<()> {
    let name = identity.bridge();
    let others = forwarding::turned_on(links.iter().filter(|link| link.name != name));
    let bridge = links.iter().find(|link| link.name == name);
    for link in bridge.and_then(Description::of).unwrap_or_default().forwards {
        let exists = links.iter().any(|known| known.name == link);
        if exists && !others.contains(&link) {
            forwarding::set(&link, false)?;
        }
    }
    if links.iter().any(|link| link.group == identity.group()) {
        let mut batch = Batch::new();
        rtnetlink::delete_group(&mut batch, identity.group());
        socket.change(&batch)?;
    }
    match Socket::netfilter() {
        Ok(socket) => filter::remove(&socket, identity),
        // Without the feature there was never anything to remove.
        Err(Error::MissingKernelFeature { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes what homes other than `own` have left.
pub(crate) fn sweep(socket: &Socket, own: Identity) -> Result<()> {
    let links = rtnetlink::links(socket)?;
    for link in &links {
        let left = left_by(socket, &links, link)?.filter(|identity| *identity != own);
        let Some(identity) = left else { continue };
        // Listed anew: a bridge removed before no longer says what others still need.
        remove(socket, &rtnetlink::links(socket)?, identity)?;
    }
    let links = rtnetlink::links(socket)?;
    let netfilter = match Socket::netfilter() {
        Ok(netfilter) => netfilter,
        Err(Error::MissingKernelFeature { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    for identity in filter::homes(&netfilter)? {
        // `up` makes the bridge before the tables, and `down` removes it before them.
        if identity != own && !links.iter().any(|link| link.name == identity.bridge()) {
            filter::remove(&netfilter, identity)?;
        }
    }
    Ok(())
}

/// What homes that are gone have left in the kernel, a line each; nothing is changed. The next `up` of any home takes it
/// away.
pub fn left_behind() -> Result<Vec<String>> {
    let socket = Socket::route()?;
    let links = rtnetlink::links(&socket)?;
    let mut left = Vec::new();
    for link in &links {
        if left_by(&socket, &links, link)?.is_some() {
            let owner = Description::of(link).unwrap_or_default().owner;
            left.push(format!("bridge `{}` of `{owner}`", link.name));
        }
    }
    let netfilter = match Socket::netfilter() {
        Ok(netfilter) => netfilter,
        Err(Error::MissingKernelFeature { .. }) => return Ok(left),
        Err(error) => return Err(error),
    };
    for identity in filter::homes(&netfilter)? {
        if !links.iter().any(|link| link.name == identity.bridge()) {
            left.push(format!("packet filter `{}`", identity.table()));
        }
    }
    Ok(left)
}

/// Whose bridge this is, where that home is gone and nothing of it runs.
///
/// Its directory alone does not say so: a process in another mount namespace may see it. So nothing
/// is connected either, and no name server listens, as one does wherever the home's edge runs.
fn left_by(socket: &Socket, links: &[Link], bridge: &Link) -> Result<Option<Identity>> {
    let Some(identity) = Identity::of_bridge(&bridge.name) else { return Ok(None) };
    let Some(description) = Description::of(bridge) else { return Ok(None) };
    let home = Path::new(&description.owner);
    // The name is a hash of the whole path: what was cut, or is no text, does not give it.
    if Identity::of(home) != identity || !is_gone(home) {
        return Ok(None);
    }
    let has_ports = links.iter().any(|link| {
        link.index != bridge.index
            && (link.master == Some(bridge.index) || link.group == identity.group())
    });
    if has_ports || serves_names(&rtnetlink::addresses(socket, bridge.index)?)? {
        return Ok(None);
    }
    Ok(Some(identity))
}

fn is_gone(home: &Path) -> bool {
    matches!(home.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Whether a name server listens at one of these addresses, in the thread's network namespace.
fn serves_names(addresses: &[Ipv4Addr]) -> Result<bool> {
    let path = Path::new("/proc/thread-self/net/udp");
    let table = std::fs::read_to_string(path).map_err(|source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(listens(&table, addresses))
}

/// Whether the kernel's table of UDP sockets has the name server's port at one of the addresses;
/// it writes addresses as numbers of the machine's byte order.
fn listens(table: &str, addresses: &[Ipv4Addr]) -> bool {
    let wanted: Vec<String> = addresses
        .iter()
        .map(|address| format!("{:08X}:{:04X}", u32::from_ne_bytes(address.octets()), dns::PORT))
        .collect();
    table.lines().skip(1).any(|line| {
        line.split_whitespace().nth(1).is_some_and(|local| wanted.iter().any(|own| own == local))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_is_found_among_sockets() {
        let address = Ipv4Addr::new(10, 70, 0, 1);
        let local = format!("{:08X}", u32::from_ne_bytes(address.octets()));
        let table = |port: &str| {
            format!("  sl  local_address rem_address\n  9: {local}:{port} 00000000:0000 07 0\n")
        };
        assert!(listens(&table("0035"), &[Ipv4Addr::LOCALHOST, address]));
        assert!(!listens(&table("0036"), &[address]));
        assert!(!listens(&table("0035"), &[Ipv4Addr::new(10, 71, 0, 1)]));
        assert!(!listens("", &[address]));
    }
}
