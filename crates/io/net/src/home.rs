//! The network of one home: made, kept, and removed without a trace.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use hornero_model::{InstanceId, ServiceName};
use sha2::{Digest as _, Sha256};

use crate::{
    Error, Result, Subnet,
    addresses::Addresses,
    error::ignoring,
    filter::{self, Member},
    forwarding::{self, Description},
    identity::{BRIDGE_PREFIX, Identity},
    leftover,
    lock::open_locked,
    netlink::{Batch, Socket},
    rtnetlink::{self, Link, LinkRef},
    state::{self, State},
};

/// Homes choose their subnets and share the forwarding of links one after the other.
const HOST_LOCK: &str = "/run/hornero-network.lock";
const PREFIX_LENGTH: u8 = 16;

/// The network of one home.
///
/// It is plain data: cheap to clone, usable from any thread, and from a forked single-threaded
/// child. All methods block.
#[derive(Debug, Clone)]
pub struct HomeNetwork {
    pub(crate) home: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) subnet: Subnet,
    pub(crate) addresses: Addresses,
}

impl HomeNetwork {
    /// Loads the network of the home in this directory, or chooses a free subnet for it and writes
    /// `network.json`. Changes nothing outside of the directory.
    pub fn open(home: &Path) -> Result<Self> {
        let home = home.canonicalize().map_err(|source| Error::File {
            action: "open",
            path: home.to_owned(),
            source,
        })?;
        let identity = Identity::of(&home);
        let state = match state::load(&home)? {
            Some(state) => state,
            None => {
                let in_use = rtnetlink::networks_in_use(&Socket::route()?, None)?;
                let subnet = Subnet::choose(identity.seed(), &in_use).ok_or(Error::NoFreeSubnet)?;
                state::update(&home, |state| {
                    let state = state.unwrap_or_else(|| State::new(identity.bridge(), subnet));
                    Ok((state.clone(), state))
                })?
            }
        };
        let addresses = Addresses::new(&home);
        let network = Self { home, identity, subnet: state.subnet, addresses };
        if state.bridge == network.bridge() {
            return Ok(network);
        }
        // The home was moved: its names in the kernel follow its path.
        network.update(|state| state.bridge = identity.bridge())?;
        Ok(network)
    }

    /// Loads the network of the home where one was chosen; changes nothing where none was, or it can't be read.
    pub fn existing(home: &Path) -> Option<Self> {
        state::load(home).ok()??;
        Self::open(home).ok()
    }

    /// The name of the home's bridge.
    pub fn bridge(&self) -> String {
        self.identity.bridge()
    }

    /// The home's subnet.
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// The address of the bridge: gateway and name server of the instances.
    pub fn gateway(&self) -> Ipv4Addr {
        self.subnet.gateway()
    }

    /// Makes whatever is missing of bridge, addresses, packet filter and forwarding; harmless to
    /// repeat at any time, and right after a crash at any point.
    ///
    /// Where the home has no bridge yet and its subnet was taken since, it gets another one; the
    /// addresses of services and instances move with it.
    ///
    /// Also removes what homes that no longer exist have left: a home's tables without its bridge,
    /// and its bridge where its directory is gone, nothing is connected and no name server listens.
    pub fn up(&mut self) -> Result<()> {
        let _host = lock_host()?;
        let socket = Socket::route()?;
        leftover::sweep(&socket, self.identity)?;
        let links = rtnetlink::links(&socket)?;
        let name = self.bridge();
        let existing = links.iter().find(|link| link.name == name);
        self.check_owner(existing)?;
        self.settle_subnet(&socket, existing)?;
        if existing.is_none() {
            let mut batch = Batch::new();
            let hardware_address = self.identity.bridge_hardware_address();
            rtnetlink::create_bridge(&mut batch, &name, hardware_address, self.identity.group());
            rtnetlink::set_alias(&mut batch, &name, &self.description(Vec::new()).text());
            needing("CONFIG_BRIDGE", socket.change(&batch))?;
        }
        forwarding::turn_ipv6_off(&name)?;
        // The filter first: nothing of the home ever carries packets without it.
        filter::install(&Socket::netfilter()?, self.identity, self.subnet, &self.members()?)?;
        let index = self.bridge_index(&socket)?;
        let mut batch = Batch::new();
        rtnetlink::add_address(&mut batch, index, self.gateway(), PREFIX_LENGTH);
        for address in self.state()?.services.into_values() {
            rtnetlink::add_address(&mut batch, index, address, 32);
        }
        rtnetlink::bring_up(&mut batch, LinkRef::Index(index));
        socket.change(&batch)?;
        self.forward(&socket, &links)
    }

    /// Removes everything that the home has in the kernel: links, packet filter, and the
    /// forwarding of links that only this home still needed. Keeps the home's files, and with them
    /// its subnet and addresses. Harmless to repeat.
    pub fn down(&self) -> Result<()> {
        let _host = lock_host()?;
        let socket = Socket::route()?;
        let links = rtnetlink::links(&socket)?;
        let name = self.bridge();
        self.check_owner(links.iter().find(|link| link.name == name))?;
        leftover::remove(&socket, &links, self.identity)
    }

    /// Records an address that `SERVICE.internal` stands for: the one that it has, or a free one. It
    /// keeps it until released. Where the home is up the address is on its bridge when this returns, so that the edge can
    /// listen on it.
    pub fn give_service_address(&self, service: &ServiceName) -> Result<Ipv4Addr> {
        let address = state::update(&self.home, |state| {
            let mut state = state.unwrap_or_else(|| State::new(self.bridge(), self.subnet));
            if let Some(address) = state.services.get(service) {
                let address = *address;
                return Ok((state, address));
            }
            let taken: BTreeSet<Ipv4Addr> = state.services.values().copied().collect();
            let address = free_service_address(self.subnet, service, &taken)?;
            state.services.insert(service.clone(), address);
            Ok((state, address))
        })?;
        let socket = Socket::route()?;
        if let Some(index) = self.find_bridge(&socket)? {
            let mut batch = Batch::new();
            rtnetlink::add_address(&mut batch, index, address, 32);
            socket.change(&batch)?;
        }
        Ok(address)
    }

    /// Gives a service's address back; does nothing where it has none.
    pub fn release_service_address(&self, service: &ServiceName) -> Result<()> {
        let Some(address) = self.update(|state| state.services.remove(service))? else {
            return Ok(());
        };
        let socket = Socket::route()?;
        let Some(index) = self.find_bridge(&socket)? else { return Ok(()) };
        let mut batch = Batch::new();
        rtnetlink::delete_address(&mut batch, index, address, 32);
        ignoring(libc::EADDRNOTAVAIL, socket.change(&batch))
    }

    /// The addresses of all services, as `network.json` has them.
    pub fn service_addresses(&self) -> Result<BTreeMap<ServiceName, Ipv4Addr>> {
        Ok(self.state()?.services)
    }

    /// An address for the instance: always the same one for the same id, and one that nobody had
    /// for a while for a new id.
    pub fn allocate_address(&self, instance: &InstanceId) -> Result<Ipv4Addr> {
        self.addresses.allocate(self.subnet, instance)
    }

    /// Gives the instance's address back; does nothing where it holds none. Call it after the
    /// instance's processes have ended and [`Self::detach`].
    pub fn release_address(&self, instance: &InstanceId) -> Result<()> {
        self.addresses.release(instance)
    }

    /// The instances that hold an address, for finding those that are long gone.
    pub fn held_addresses(&self) -> Result<Vec<(InstanceId, Ipv4Addr)>> {
        let holders = self.addresses.holders(self.subnet)?;
        Ok(holders.into_iter().map(|holder| (holder.instance, holder.address)).collect())
    }

    /// The index of the home's bridge; an error where there is none.
    pub(crate) fn bridge_index(&self, socket: &Socket) -> Result<u32> {
        self.find_bridge(socket)?.ok_or_else(|| Error::NotUp { bridge: self.bridge() })
    }

    pub(crate) fn find_bridge(&self, socket: &Socket) -> Result<Option<u32>> {
        link_index(socket, &self.bridge())
    }

    fn state(&self) -> Result<State> {
        Ok(state::load(&self.home)?.unwrap_or_else(|| State::new(self.bridge(), self.subnet)))
    }

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        state::update(&self.home, |state| {
            let mut state = state.unwrap_or_else(|| State::new(self.bridge(), self.subnet));
            let value = change(&mut state);
            Ok((state, value))
        })
    }

    fn description(&self, forwards: Vec<String>) -> Description {
        Description { owner: Description::owner_of(&self.home), forwards }
    }

    /// A bridge without description is one whose making was cut short.
    fn check_owner(&self, bridge: Option<&Link>) -> Result<()> {
        let Some(link) = bridge else { return Ok(()) };
        let Some(alias) = &link.alias else { return Ok(()) };
        match Description::of(link) {
            Some(description) if description.owner == Description::owner_of(&self.home) => Ok(()),
            Some(description) => {
                Err(Error::BridgeTaken { bridge: self.bridge(), owner: description.owner })
            }
            None => Err(Error::BridgeTaken { bridge: self.bridge(), owner: alias.clone() }),
        }
    }

    /// Takes another subnet where something else has come to use the home's.
    fn settle_subnet(&mut self, socket: &Socket, bridge: Option<&Link>) -> Result<()> {
        self.subnet = self.state()?.subnet;
        let in_use = rtnetlink::networks_in_use(socket, bridge.map(|link| link.index))?;
        // A bridge that is there may carry traffic, and what else uses the subnet came later.
        if bridge.is_some() || !self.subnet.overlaps_any(&in_use) {
            return Ok(());
        }
        let subnet = Subnet::choose(self.identity.seed(), &in_use).ok_or(Error::NoFreeSubnet)?;
        self.update(|state| state.move_to(subnet))?;
        self.subnet = subnet;
        Ok(())
    }

    /// Every attached instance, for a packet filter that lost them.
    fn members(&self) -> Result<Vec<Member>> {
        let holders = self.addresses.holders(self.subnet)?;
        Ok(holders
            .into_iter()
            .filter_map(|holder| {
                holder.attached.map(|egress| Member { address: holder.address, egress })
            })
            .collect())
    }

    /// Makes the links with a default route forward what comes back. The bridge forwards too.
    fn forward(&self, socket: &Socket, links: &[Link]) -> Result<()> {
        let name = self.bridge();
        let mut turned_on =
            forwarding::turned_on(links.iter().filter(|link| link.name.starts_with(BRIDGE_PREFIX)));
        let outside = rtnetlink::default_route_links(socket)?;
        let outside: Vec<&String> = links
            .iter()
            .filter(|link| outside.contains(&link.index) && link.name != name)
            .map(|link| &link.name)
            .collect();
        // What an earlier home turned on this home needs too; it is whoever leaves last that
        // turns it off.
        turned_on.retain(|link| outside.contains(&link));
        let mut off = Vec::new();
        for link in outside {
            if !forwarding::is_on(link)? {
                off.push(link.clone());
            }
        }
        for link in &off {
            if !turned_on.contains(link) {
                turned_on.push(link.clone());
            }
        }
        // Recorded before it is done: a crash in between must not leave it on for ever.
        let mut batch = Batch::new();
        rtnetlink::set_alias(&mut batch, &name, &self.description(turned_on).text());
        socket.change(&batch)?;
        forwarding::set(&name, true)?;
        off.iter().try_for_each(|link| forwarding::set(link, true))
    }
}

fn lock_host() -> Result<std::fs::File> {
    match open_locked(Path::new(HOST_LOCK)) {
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            Err(Error::NotPermitted { action: "change the host's network".to_owned(), source })
        }
        other => other,
    }
}

/// The index of a link by its name.
pub(crate) fn link_index(socket: &Socket, name: &str) -> Result<Option<u32>> {
    match rustix::net::netdevice::name_to_index(socket, name) {
        Ok(index) => Ok(Some(index)),
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(errno) => Err(Error::Kernel {
            action: format!("look for link `{name}`"),
            detail: String::new(),
            source: errno.into(),
        }),
    }
}

/// Says which kernel option is missing where a kind of link is not known.
pub(crate) fn needing(option: &'static str, result: Result<()>) -> Result<()> {
    match result {
        Err(Error::Kernel { action, source, .. })
            if source.raw_os_error() == Some(libc::EOPNOTSUPP) =>
        {
            Err(Error::MissingKernelFeature { action, option, source })
        }
        other => other,
    }
}

/// The address that the service's name points at, or the next free one.
fn free_service_address(
    subnet: Subnet,
    service: &ServiceName,
    taken: &BTreeSet<Ipv4Addr>,
) -> Result<Ipv4Addr> {
    let hash = Sha256::digest(service.as_str().as_bytes());
    let first = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) as usize;
    (0..Subnet::SERVICES)
        .map(|step| subnet.service((first % Subnet::SERVICES + step) % Subnet::SERVICES))
        .find(|address| !taken.contains(address))
        .ok_or_else(|| Error::NoFreeServiceAddress {
            subnet: subnet.to_string(),
            service: service.clone(),
        })
}
