//! Connecting an instance's network namespace to its home's bridge.

use std::{
    fs::File,
    net::Ipv4Addr,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use hornero_model::InstanceId;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{
    Error, HomeNetwork, Result,
    addresses::Egress,
    error::ignoring,
    filter::{self, Member},
    forwarding,
    home::{link_index, needing},
    identity::instance_hardware_address,
    netlink::{Batch, Socket},
    rtnetlink::{self, LinkRef},
};

/// The instance's end of its veth pair, seen from inside.
const INSIDE: &str = "eth0";
/// The kernel lets a link carry packets some moments after it came up, from a work queue, and at
/// worst once a second (`linkwatch` in the kernel).
const READY_TIMEOUT: Duration = Duration::from_secs(5);
const READY_POLL: Duration = Duration::from_micros(200);

/// What connects one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The instance.
    pub instance: InstanceId,
    /// The address allocated to it by [`HomeNetwork::allocate_address`].
    pub address: Ipv4Addr,
    /// Whether it may reach what lies outside of the home.
    pub egress: bool,
}

impl HomeNetwork {
    /// Connects the network namespace: `eth0` with the address, everything sent to the gateway,
    /// loopback up, IPv6 off. When it returns, packets flow. Repeating it for a new namespace of
    /// the same instance replaces the connection.
    ///
    /// The calling thread enters the namespace for a moment, so it must have `CAP_SYS_ADMIN` and
    /// `CAP_NET_ADMIN` in the host's user namespace and see the host's `/proc`.
    pub fn attach(&self, netns: BorrowedFd<'_>, attachment: &Attachment) -> Result<()> {
        let Attachment { instance, address, egress } = attachment;
        let egress = if *egress { Egress::Allowed } else { Egress::Refused };
        self.addresses.set_attached(self.subnet, instance, *address, Some(egress))?;
        let host = Socket::route()?;
        let bridge = self.bridge_index(&host)?;
        let inside = enter_briefly(netns)?;
        let member = Member { address: *address, egress };
        filter::admit(&Socket::netfilter()?, self.identity, &member)?;

        let port = self.identity.port(*address);
        self.create_veth(&host, bridge, *address, netns)?;
        let eth0 = existing(&inside, INSIDE)?;
        let port_index = existing(&host, &port)?;

        let mut batch = Batch::new();
        rtnetlink::bring_up(&mut batch, LinkRef::Name("lo"));
        rtnetlink::bring_up(&mut batch, LinkRef::Index(eth0));
        rtnetlink::add_address(&mut batch, eth0, *address, 32);
        let gateway = self.gateway();
        rtnetlink::add_neighbour(
            &mut batch,
            eth0,
            gateway,
            self.identity.bridge_hardware_address(),
        );
        rtnetlink::add_default_route(&mut batch, eth0, gateway);
        inside.change(&batch)?;

        let hardware_address = instance_hardware_address(*address);
        let mut batch = Batch::new();
        rtnetlink::bring_port_up(&mut batch, port_index);
        rtnetlink::add_forwarding_entry(&mut batch, port_index, hardware_address);
        rtnetlink::add_neighbour(&mut batch, bridge, *address, hardware_address);
        host.change(&batch)?;

        let deadline = Instant::now() + READY_TIMEOUT;
        wait_until_ready(&host, port_index, &port, deadline)?;
        wait_until_ready(&host, bridge, &self.bridge(), deadline)?;
        wait_until_ready(&inside, eth0, INSIDE, deadline)
    }

    /// Removes what [`Self::attach`] has made, whatever of it is still there; the instance keeps
    /// its address. The links also vanish with the instance's namespace.
    pub fn detach(&self, instance: &InstanceId) -> Result<()> {
        let Some(address) = self.addresses.last_address(self.subnet, instance)? else {
            return Ok(());
        };
        let host = Socket::route()?;
        let port = self.identity.port(address);
        let mut batch = Batch::new();
        rtnetlink::delete_link(&mut batch, &port);
        ignoring(libc::ENODEV, host.change(&batch))?;
        if let Some(bridge) = self.find_bridge(&host)? {
            let mut batch = Batch::new();
            rtnetlink::delete_neighbour(&mut batch, bridge, address);
            ignoring(libc::ENOENT, host.change(&batch))?;
        }
        filter::expel(&Socket::netfilter()?, self.identity, address)?;
        match self.addresses.set_attached(self.subnet, instance, address, None) {
            // Released already.
            Ok(()) | Err(Error::NotAllocated { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the pair, after removing one that an earlier attachment has left.
    fn create_veth(
        &self,
        host: &Socket,
        bridge: u32,
        address: Ipv4Addr,
        netns: BorrowedFd<'_>,
    ) -> Result<()> {
        let port = self.identity.port(address);
        let mut create = Batch::new();
        rtnetlink::create_veth(
            &mut create,
            &port,
            bridge,
            self.identity.group(),
            INSIDE,
            instance_hardware_address(address),
            netns,
        );
        match host.change(&create) {
            Err(Error::Kernel { source, .. })
                if source.raw_os_error() == Some(libc::EEXIST)
                    && link_index(host, &port)?.is_some() =>
            {
                let mut delete = Batch::new();
                rtnetlink::delete_link(&mut delete, &port);
                ignoring(libc::ENODEV, host.change(&delete))?;
                host.change(&create)
            }
            other => needing("CONFIG_VETH", other),
        }
    }
}

/// Turns IPv6 off in the namespace and opens a socket in it.
///
/// A namespace's settings and sockets are those of the thread that opens them, so the thread goes
/// in and comes back.
fn enter_briefly(netns: BorrowedFd<'_>) -> Result<Socket> {
    const OWN: &str = "/proc/thread-self/ns/net";
    let own = File::open(OWN).map_err(|source| Error::File {
        action: "open",
        path: OWN.into(),
        source,
    })?;
    enter(netns, "enter the instance's network namespace")?;
    let result = forwarding::turn_ipv6_off("all").and_then(|()| Socket::route());
    enter(own.as_fd(), "return to the host's network namespace")?;
    result
}

fn enter(netns: BorrowedFd<'_>, action: &str) -> Result<()> {
    move_into_link_name_space(netns, Some(LinkNameSpaceType::Network)).map_err(|errno| {
        let (action, source) = (action.to_owned(), errno.into());
        if errno == rustix::io::Errno::PERM {
            Error::NotPermitted { action, source }
        } else {
            Error::Kernel { action, detail: String::new(), source }
        }
    })
}

fn existing(socket: &Socket, name: &str) -> Result<u32> {
    link_index(socket, name)?.ok_or_else(|| Error::Kernel {
        action: format!("find link `{name}`, which was just made"),
        detail: String::new(),
        source: std::io::Error::from_raw_os_error(libc::ENODEV),
    })
}

/// A packet sent before the kernel says that the link is up is lost, and TCP tries again only after
/// a second.
fn wait_until_ready(socket: &Socket, index: u32, name: &str, deadline: Instant) -> Result<()> {
    loop {
        let link = rtnetlink::link(socket, index)?;
        if link.is_some_and(|link| link.operational) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::LinkNotReady {
                link: name.to_owned(),
                waited_ms: READY_TIMEOUT.as_millis() as u64,
            });
        }
        std::thread::sleep(READY_POLL);
    }
}
