//! The filter beside another program that translates addresses, as Docker does for ports it
//! publishes.

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    thread,
    time::Duration,
};

use hornero_model::{InstanceId, ServiceName};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::*;
use crate::{
    Attachment, HomeNetwork,
    netlink::Batch,
    rtnetlink::{self, LinkRef},
};

fn new_namespace() -> OwnedFd {
    let unshare = || {
        // SAFETY: only the network namespace is unshared, no descriptors.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        File::open("/proc/thread-self/ns/net").unwrap().into()
    };
    thread::spawn(unshare).join().unwrap()
}

fn inside<T: Send>(namespace: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    };
    thread::scope(|scope| scope.spawn(enter).join().unwrap())
}

fn serve(address: SocketAddr, name: &'static str) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(name.as_bytes()).unwrap();
        }
    });
}

/// Who answers, if anybody does.
fn ask(address: SocketAddr) -> Option<String> {
    let patience = Duration::from_millis(700);
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut name = String::new();
    stream.read_to_string(&mut name).ok().map(|_| name)
}

/// Sends TCP to `port` of any address of this host to `target` instead, at the usual place.
fn publish(port: u16, target: SocketAddr) {
    let mut transaction = Transaction::new("published");
    transaction.table(Family::Ip);
    let hook = Hook { kind: "nat", number: PREROUTING, priority: -100 };
    transaction.chain(Family::Ip, "published", Some(hook));
    let SocketAddr::V4(target) = target else { unreachable!("IPv4 only") };
    transaction.rule(
        Family::Ip,
        "published",
        "published port",
        &[
            Is(DestinationKind, DESTINATION_LOCAL),
            Is(Protocol, TCP),
            Is(DestinationPort, &port.to_be_bytes()),
            Expression::Translate(target),
        ],
    );
    transaction.commit(&Socket::netfilter().unwrap()).unwrap();
}

#[test]
fn published_ports_take_over_no_service_and_open_no_way_to_the_host() {
    let host = new_namespace();
    inside(&host, || {
        let directory = tempfile::tempdir().unwrap();
        let mut network = HomeNetwork::open(directory.path()).unwrap();
        network.up().unwrap();
        let service =
            |name| network.give_service_address(&ServiceName::new(name).unwrap()).unwrap();
        let (site, other) = (service("site"), service("other"));
        // An address of the host that is none of the home's.
        let foreign = Ipv4Addr::new(192, 0, 2, 7);
        let route = Socket::route().unwrap();
        let mut batch = Batch::new();
        rtnetlink::create_bridge(&mut batch, "foreign", [2, 0, 0, 0, 0, 7], 0);
        rtnetlink::bring_up(&mut batch, LinkRef::Name("foreign"));
        route.change(&batch).unwrap();
        let index = crate::home::link_index(&route, "foreign").unwrap().unwrap();
        let mut batch = Batch::new();
        rtnetlink::add_address(&mut batch, index, foreign, 24);
        route.change(&batch).unwrap();

        let instance = InstanceId::new("a-1-x").unwrap();
        let address = network.allocate_address(&instance).unwrap();
        let attachment = Attachment { instance, address, egress: true };
        let namespace = new_namespace();
        network.attach(namespace.as_fd(), &attachment).unwrap();

        serve((site, 80).into(), "service");
        serve((other, 81).into(), "published");
        publish(80, (other, 81).into());
        let ask_inside = |address| inside(&namespace, || ask((address, 80).into()));
        assert_eq!(ask_inside(site).as_deref(), Some("service"));
        assert_eq!(ask_inside(foreign), None);
        // Without the filter the translation does what it is for.
        remove(&Socket::netfilter().unwrap(), network.identity).unwrap();
        assert_eq!(ask_inside(site).as_deref(), Some("published"));
        assert_eq!(ask_inside(foreign).as_deref(), Some("published"));
    });
}
