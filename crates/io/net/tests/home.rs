//! A home's network in real namespaces: what instances reach, and what is left afterwards.

mod support;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    time::{Duration, Instant},
};

use hornero_model::{InstanceId, ServiceName};
use hornero_net::{Attachment, Error, HomeNetwork};
use support::{
    Home, Namespace, ask_peer_address, ip, ip_shows, ping_answers, serve_echo, serve_peer_address,
    udp_answers,
};

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
    (address, port).into()
}

#[test]
fn instances_reach_services_at_once_and_the_host_reaches_instances() {
    Namespace::host().run(|| {
        let home = Home::up();
        let address = home.network.give_service_address(&service("site")).unwrap();
        serve_peer_address(TcpListener::bind(at(address, 80)).unwrap());
        let a = home.instance("a-1-x", true);
        let began = Instant::now();
        let seen = a.namespace.run(|| ask_peer_address(at(address, 80)));
        assert_eq!(seen, Some(a.address));
        // No packet was lost on a link that was not ready: TCP would repeat it after a second.
        assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
        assert!(a.namespace.run(|| ping_answers(address)));
        assert!(a.namespace.run(|| ping_answers(home.network.gateway())));

        let listener = a.namespace.run(|| TcpListener::bind("0.0.0.0:8080").unwrap());
        a.namespace.run(|| serve_peer_address(listener));
        assert_eq!(ask_peer_address(at(a.address, 8080)), Some(home.network.gateway()));
    });
}

#[test]
fn instances_do_not_reach_each_other() {
    Namespace::host().run(|| {
        let home = Home::up();
        let (a, b) = (home.instance("a-1-x", true), home.instance("b-1-x", true));
        let listener = b.namespace.run(|| TcpListener::bind("0.0.0.0:8080").unwrap());
        b.namespace.run(|| serve_peer_address(listener));
        assert!(ask_peer_address(at(b.address, 8080)).is_some(), "the host reaches it");
        assert_eq!(a.namespace.run(|| ask_peer_address(at(b.address, 8080))), None);
        assert!(!a.namespace.run(|| ping_answers(b.address)));
        // Nor where the instance believes the other to be on its own wire.
        a.namespace.run(|| {
            let hardware = b.namespace.run(|| ip_shows(&["-o", "link", "show", "eth0"]));
            let hardware = hardware.split("link/ether ").nth(1).unwrap()[..17].to_owned();
            let address = b.address.to_string();
            ip(&["route", "add", &address, "dev", "eth0", "scope", "link"]);
            ip(&["neighbour", "add", &address, "lladdr", &hardware, "dev", "eth0"]);
            assert_eq!(ask_peer_address(at(b.address, 8080)), None);
        });
    });
}

#[test]
fn instances_do_not_reach_the_host() {
    Namespace::host().run(|| {
        ip(&["link", "add", "other", "type", "bridge"]);
        ip(&["address", "add", "192.0.2.7/24", "dev", "other"]);
        ip(&["link", "set", "other", "up"]);
        let home = Home::up();
        let address = home.network.give_service_address(&service("site")).unwrap();
        let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = everywhere.local_addr().unwrap().port();
        serve_peer_address(everywhere);
        serve_echo(UdpSocket::bind(("0.0.0.0", port)).unwrap());
        let a = home.instance("a-1-x", true);
        let gateway = home.network.gateway();
        let (loopback, other) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 7));
        for host in [gateway, other, loopback] {
            assert!(ask_peer_address(at(host, port)).is_some(), "{host} from the host itself");
            assert_eq!(a.namespace.run(|| ask_peer_address(at(host, port))), None, "{host}");
            assert!(udp_answers(at(host, port)), "{host} from the host itself");
            assert!(!a.namespace.run(|| udp_answers(at(host, port))), "{host}");
        }
        // At the gateway's very address, beside the name server.
        let beside = TcpListener::bind(at(gateway, 0)).unwrap();
        let beside_at = beside.local_addr().unwrap();
        serve_peer_address(beside);
        assert!(support::connects(beside_at), "from the host itself");
        assert!(!a.namespace.run(|| support::connects(beside_at)));
        // Listening everywhere, they listen at a service's address too, in both families' way.
        let both = TcpListener::bind("[::]:0").unwrap();
        let both_port = both.local_addr().unwrap().port();
        serve_peer_address(both);
        for port in [port, both_port] {
            assert!(support::connects(at(address, port)), "{port} from the host itself");
            assert!(!a.namespace.run(|| support::connects(at(address, port))), "{port}");
        }
        assert!(!a.namespace.run(|| udp_answers(at(address, port))), "services are TCP only");
        assert!(udp_answers(at(address, port)), "from the host itself");
        // Where nothing listens the answer comes at once.
        let began = Instant::now();
        assert!(!a.namespace.run(|| support::connects(at(address, 1))));
        assert!(began.elapsed() < support::PATIENCE, "{:?}", began.elapsed());
        // Loopback addresses by way of the gateway, on a host that would take them.
        let bridge = home.network.bridge();
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"), "1").unwrap();
        a.namespace.run(|| {
            for own in ["127.0.0.1", "127.0.0.0/8"] {
                ip(&["route", "del", "local", own, "dev", "lo", "table", "local"]);
            }
            let route = ip_shows(&["route", "get", "127.0.0.1"]);
            assert!(route.contains("dev eth0"), "{route}");
            assert_eq!(ask_peer_address(at(loopback, port)), None);
            assert!(!udp_answers(at(loopback, port)));
        });
    });
}

#[test]
fn homes_do_not_see_each_other() {
    Namespace::host().run(|| {
        let (one, two) = (Home::up(), Home::up());
        assert_ne!(one.network.subnet(), two.network.subnet());
        let address = two.network.give_service_address(&service("site")).unwrap();
        serve_peer_address(TcpListener::bind(at(address, 80)).unwrap());
        let (a, b) = (one.instance("a-1-x", true), two.instance("a-1-x", true));
        let listener = b.namespace.run(|| TcpListener::bind("0.0.0.0:80").unwrap());
        b.namespace.run(|| serve_peer_address(listener));
        for host in [address, b.address, two.network.gateway()] {
            assert_eq!(a.namespace.run(|| ask_peer_address(at(host, 80))), None, "{host}");
            assert!(!a.namespace.run(|| ping_answers(host)), "{host}");
        }
        assert!(b.namespace.run(|| ask_peer_address(at(address, 80))).is_some());
        one.network.down().unwrap();
        assert!(b.namespace.run(|| ask_peer_address(at(address, 80))).is_some());
    });
}

/// The host's way out: a namespace behind a veth pair, with a subnet of its own.
fn outside() -> Namespace {
    let outside = Namespace::host();
    ip(&["link", "add", "wan", "type", "veth", "peer", "name", "lan"]);
    // `ip` names a namespace by a process; a descriptor of ours works through /proc as well.
    let path = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        std::os::fd::AsRawFd::as_raw_fd(&outside.fd())
    );
    ip(&["link", "set", "lan", "netns", &path]);
    ip(&["address", "add", "198.51.100.1/24", "dev", "wan"]);
    ip(&["link", "set", "wan", "up"]);
    outside.run(|| {
        ip(&["address", "add", "198.51.100.2/24", "dev", "lan"]);
        ip(&["link", "set", "lan", "up"]);
        ip(&["address", "add", "203.0.113.1/32", "dev", "lo"]);
        ip(&["address", "add", "169.254.169.254/32", "dev", "lo"]);
    });
    ip(&["route", "add", "default", "via", "198.51.100.2"]);
    outside
}

fn forwarding(link: &str) -> String {
    let path = format!("/proc/sys/net/ipv4/conf/{link}/forwarding");
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn egress_is_masqueraded_and_can_be_refused() {
    Namespace::host().run(|| {
        let outside = outside();
        assert_eq!(forwarding("wan"), "0");
        let home = Home::up();
        let far = Ipv4Addr::new(203, 0, 113, 1);
        let metadata = Ipv4Addr::new(169, 254, 169, 254);
        let listener = outside.run(|| TcpListener::bind("0.0.0.0:80").unwrap());
        outside.run(|| serve_peer_address(listener));
        let (free, bound) = (home.instance("a-1-x", true), home.instance("b-1-x", false));
        let seen = free.namespace.run(|| ask_peer_address(at(far, 80)));
        assert_eq!(seen, Some(Ipv4Addr::new(198, 51, 100, 1)));
        assert_eq!(free.namespace.run(|| ask_peer_address(at(metadata, 80))), None);
        let began = Instant::now();
        assert_eq!(bound.namespace.run(|| ask_peer_address(at(far, 80))), None);
        assert!(began.elapsed() < support::PATIENCE, "refused at once, not dropped");

        // Outside reaches no instance and no service by routing to this host.
        let address = home.network.give_service_address(&service("site")).unwrap();
        serve_peer_address(TcpListener::bind(at(address, 80)).unwrap());
        let listener = free.namespace.run(|| TcpListener::bind("0.0.0.0:80").unwrap());
        free.namespace.run(|| serve_peer_address(listener));
        outside.run(|| {
            ip(&["route", "add", &home.network.subnet().to_string(), "via", "198.51.100.1"]);
            assert_eq!(ask_peer_address(at(free.address, 80)), None);
            assert_eq!(ask_peer_address(at(address, 80)), None);
        });

        // Attached anew without egress, under the same address.
        let attachment =
            Attachment { instance: free.id.clone(), address: free.address, egress: false };
        let namespace = Namespace::new();
        home.network.attach(namespace.fd(), &attachment).unwrap();
        assert_eq!(namespace.run(|| ask_peer_address(at(far, 80))), None);
        assert!(namespace.run(|| ask_peer_address(at(address, 80))).is_some());
    });
}

#[test]
fn the_last_home_restores_forwarding() {
    Namespace::host().run(|| {
        let _outside = outside();
        let (one, two) = (Home::up(), Home::up());
        assert_eq!(forwarding("wan"), "1");
        one.network.down().unwrap();
        assert_eq!(forwarding("wan"), "1");
        two.network.down().unwrap();
        assert_eq!(forwarding("wan"), "0");
        // On before any home came: it stays on.
        std::fs::write("/proc/sys/net/ipv4/conf/wan/forwarding", "1").unwrap();
        let three = Home::up();
        three.network.down().unwrap();
        assert_eq!(forwarding("wan"), "1");
    });
}

#[test]
fn a_spoofed_source_goes_nowhere() {
    Namespace::host().run(|| {
        let home = Home::up();
        let address = home.network.give_service_address(&service("site")).unwrap();
        let listener = TcpListener::bind(at(address, 80)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (a, b) = (home.instance("a-1-x", true), home.instance("b-1-x", true));
        let own = a.address.to_string();
        let stolen = b.address.to_string();
        // An answer would go to the other instance: what counts is what the host gets.
        let watch = support::IcmpWatch::new();
        a.namespace.run(|| {
            assert!(ping_answers(address));
            assert_eq!(watch.seen_from(a.address), 1);
            ip(&["address", "add", &format!("{stolen}/32"), "dev", "eth0"]);
            ip(&["address", "del", &format!("{own}/32"), "dev", "eth0"]);
            let gateway = home.network.gateway().to_string();
            ip(&["route", "replace", &gateway, "dev", "eth0", "scope", "link", "src", &stolen]);
            ip(&["route", "replace", "default", "via", &gateway, "src", &stolen]);
            assert!(!ping_answers(address));
            assert_eq!(ask_peer_address(at(address, 80)), None);
        });
        assert_eq!(watch.seen_from(b.address), 0);
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert!(b.namespace.run(|| ping_answers(address)), "the one whose address it is");
        assert_eq!(watch.seen_from(b.address), 1);
    });
}

#[test]
fn inside_there_is_one_address_and_no_ipv6() {
    Namespace::host().run(|| {
        let home = Home::up();
        let a = home.instance("a-1-x", true);
        let shown = a.namespace.run(|| ip_shows(&["-o", "address", "show"]));
        assert!(shown.contains(&format!("inet {}/32", a.address)), "{shown}");
        assert!(shown.contains("127.0.0.1/8"), "{shown}");
        assert!(!shown.contains("inet6"), "{shown}");
        let routes = a.namespace.run(|| ip_shows(&["route", "show"]));
        assert!(routes.starts_with(&format!("default via {}", home.network.gateway())), "{routes}");
        let bridge = ip_shows(&["-o", "address", "show", "dev", &home.network.bridge()]);
        assert!(!bridge.contains("inet6"), "{bridge}");
    });
}

fn links() -> Vec<String> {
    let mut names: Vec<String> = ip_shows(&["-o", "link", "show"])
        .lines()
        .map(|line| line.split(": ").nth(1).unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn down_leaves_nothing_and_up_comes_back_the_same() {
    Namespace::host().run(|| {
        let before = (links(), ip_shows(&["address"]), ip_shows(&["rule"]));
        let mut home = Home::up();
        let address = home.network.give_service_address(&service("site")).unwrap();
        let a = home.instance("a-1-x", true);
        assert_eq!(links().len(), before.0.len() + 2);
        home.network.down().unwrap();
        home.network.down().unwrap();
        assert_eq!((links(), ip_shows(&["address"]), ip_shows(&["rule"])), before);
        assert_eq!(support::tables(), Vec::<String>::new());
        assert!(!a.namespace.run(links).contains(&"eth0".to_owned()));

        let subnet = home.network.subnet();
        home.network.up().unwrap();
        home.network.up().unwrap();
        let mut again = HomeNetwork::open(home.directory.path()).unwrap();
        again.up().unwrap();
        assert_eq!(again.subnet(), subnet);
        assert_eq!(again.give_service_address(&service("site")).unwrap(), address);
        TcpListener::bind(at(address, 80)).unwrap();
        assert_eq!(again.allocate_address(&a.id).unwrap(), a.address);
    });
}

#[test]
fn up_while_instances_run_keeps_them_connected_and_protected() {
    Namespace::host().run(|| {
        let mut home = Home::up();
        let address = home.network.give_service_address(&service("site")).unwrap();
        serve_peer_address(TcpListener::bind(at(address, 80)).unwrap());
        let a = home.instance("a-1-x", true);
        home.network.up().unwrap();
        assert!(a.namespace.run(|| ask_peer_address(at(address, 80))).is_some());
        // Another program flushes all rules, as a firewall's restart does.
        support::delete_tables();
        let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
        let host = at(home.network.gateway(), everywhere.local_addr().unwrap().port());
        serve_peer_address(everywhere);
        assert_eq!(support::tables(), Vec::<String>::new());
        assert!(a.namespace.run(|| ask_peer_address(host)).is_some(), "nothing else protects it");
        home.network.up().unwrap();
        assert_eq!(support::tables().len(), 2);
        assert!(a.namespace.run(|| ask_peer_address(at(address, 80))).is_some());
        assert_eq!(a.namespace.run(|| ask_peer_address(host)), None);
    });
}

#[test]
fn instances_attach_and_detach_at_the_same_time() {
    let host = Namespace::host();
    host.run(|| {
        let home = Home::up();
        let address = home.network.give_service_address(&service("site")).unwrap();
        serve_peer_address(TcpListener::bind(at(address, 80)).unwrap());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let home = &home;
                scope.spawn(move || {
                    for round in 0..4 {
                        let a = home.instance(&format!("a-{thread}-{round}"), true);
                        let seen = a.namespace.run(|| ask_peer_address(at(address, 80)));
                        assert_eq!(seen, Some(a.address));
                        home.network.detach(&a.id).unwrap();
                        home.network.release_address(&a.id).unwrap();
                    }
                });
            }
        });
        assert_eq!(home.network.held_addresses().unwrap(), []);
    });
}

#[test]
fn detach_removes_one_instance() {
    Namespace::host().run(|| {
        let home = Home::up();
        let before = links();
        let a = home.instance("a-1-x", true);
        assert_eq!(links().len(), before.len() + 1);
        home.network.detach(&a.id).unwrap();
        home.network.detach(&a.id).unwrap();
        assert_eq!(links(), before);
        let shown = ip_shows(&["neighbour", "show", "nud", "all"]);
        assert!(!shown.contains(&a.address.to_string()), "{shown}");
        home.network.release_address(&a.id).unwrap();
        home.network.detach(&a.id).unwrap();
        assert_eq!(home.network.held_addresses().unwrap(), []);
    });
}

#[test]
fn links_go_with_the_instances_namespace() {
    Namespace::host().run(|| {
        let home = Home::up();
        let before = links();
        drop(home.instance("a-1-x", true));
        let deadline = Instant::now() + Duration::from_secs(20);
        while links() != before {
            assert!(Instant::now() < deadline, "{:?}", links());
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn attaching_needs_the_address_and_the_bridge() {
    Namespace::host().run(|| {
        let mut home = Home::up();
        let namespace = Namespace::new();
        let instance = InstanceId::new("a-1-x").unwrap();
        let address = home.network.allocate_address(&instance).unwrap();
        let wrong =
            Attachment { instance: InstanceId::new("b-1-x").unwrap(), address, egress: true };
        let error = home.network.attach(namespace.fd(), &wrong).unwrap_err();
        assert!(matches!(error, Error::NotAllocated { .. }), "{error}");
        home.network.down().unwrap();
        let right = Attachment { instance, address, egress: true };
        let error = home.network.attach(namespace.fd(), &right).unwrap_err();
        assert!(matches!(error, Error::NotUp { .. }), "{error}");
        home.network.up().unwrap();
        home.network.attach(namespace.fd(), &right).unwrap();
    });
}

#[test]
fn a_subnet_taken_meanwhile_is_given_up() {
    Namespace::host().run(|| {
        let directory = tempfile::tempdir().unwrap();
        let mut network = HomeNetwork::open(directory.path()).unwrap();
        let first = network.subnet();
        let address = network.give_service_address(&service("site")).unwrap();
        ip(&["link", "add", "vpn", "type", "bridge"]);
        ip(&["link", "set", "vpn", "up"]);
        ip(&["route", "add", &first.to_string(), "dev", "vpn"]);
        network.up().unwrap();
        assert_ne!(network.subnet(), first);
        let moved = network.give_service_address(&service("site")).unwrap();
        assert_eq!(moved.octets()[2..], address.octets()[2..]);
        assert!(network.subnet().contains(moved));
        // With everything taken there is an error, and nothing half made.
        network.down().unwrap();
        ip(&["route", "add", "10.0.0.0/8", "dev", "vpn"]);
        let error = network.up().unwrap_err();
        assert!(matches!(error, Error::NoFreeSubnet), "{error}");
        assert!(!links().contains(&network.bridge()));
    });
}

#[test]
fn a_released_service_address_leaves_the_bridge() {
    Namespace::host().run(|| {
        let home = Home::up();
        let (a, b) = (service("a"), service("b"));
        let address = home.network.give_service_address(&a).unwrap();
        let other = home.network.give_service_address(&b).unwrap();
        assert_ne!(address, other);
        home.network.release_service_address(&a).unwrap();
        home.network.release_service_address(&a).unwrap();
        let shown = ip_shows(&["address", "show", "dev", &home.network.bridge()]);
        assert!(!shown.contains(&address.to_string()) && shown.contains(&other.to_string()));
        assert_eq!(home.network.service_addresses().unwrap(), [(b, other)].into());
    });
}

#[test]
fn a_kill_at_any_moment_of_up_is_repaired_by_up_and_down() {
    Namespace::host().run(|| {
        let _outside = outside();
        let before = links();
        let mut interrupted = 0;
        for step in 0..40 {
            let directory = tempfile::tempdir().unwrap();
            let mut network = HomeNetwork::open(directory.path()).unwrap();
            let mut victim = network.clone();
            // SAFETY: the child calls what needs no other thread, and ends without unwinding.
            let child = unsafe { libc::fork() };
            assert!(child >= 0);
            if child == 0 {
                let done = victim.up().is_ok();
                // SAFETY: ends the child without running the parent's destructors.
                unsafe { libc::_exit(if done { 0 } else { 1 }) };
            }
            std::thread::sleep(Duration::from_micros(step * 150));
            let mut status = 0;
            // SAFETY: the child is ours and not yet waited for.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &mut status, 0);
            }
            interrupted += u32::from(libc::WIFSIGNALED(status));
            if step % 2 == 0 {
                network.up().unwrap();
                assert_eq!(forwarding("wan"), "1");
                assert_eq!(support::tables().len(), 2);
            }
            network.down().unwrap();
            assert_eq!(links(), before, "step {step}");
            assert_eq!(support::tables(), Vec::<String>::new(), "step {step}");
            assert_eq!(forwarding("wan"), "0", "step {step}");
        }
        assert!(interrupted >= 3, "only {interrupted} of 40 were cut short");
    });
}

/// A home that takes the same subnet as one that is gone would.
fn home_with_subnet(parent: &std::path::Path, subnet: hornero_net::Subnet) -> HomeNetwork {
    // One path of 128 gives it: that none of these does is less likely than one in a million.
    for number in 0..2000 {
        let directory = parent.join(number.to_string());
        std::fs::create_dir(&directory).unwrap();
        let network = HomeNetwork::open(&directory).unwrap();
        if network.subnet() == subnet {
            return network;
        }
    }
    panic!("no path gives {subnet}");
}

/// What a `down` leaves that is killed half-way: the bridge is gone, its tables are not.
fn lose_bridge(home: &Home) {
    ip(&["link", "delete", &home.network.bridge()]);
}

#[test]
fn the_tables_of_a_home_that_is_gone_block_no_other() {
    Namespace::host().run(|| {
        let gone = Home::up();
        let subnet = gone.network.subnet();
        lose_bridge(&gone);
        assert_eq!(support::tables().len(), 2, "they stay without it");
        drop(gone);
        let left = hornero_net::left_behind().unwrap();
        assert!(left.len() == 1 && left[0].starts_with("packet filter `hornero_"), "{left:?}");
        let parent = tempfile::tempdir().unwrap();
        let mut network = home_with_subnet(parent.path(), subnet);
        network.up().unwrap();
        assert_eq!(network.subnet(), subnet);
        assert_eq!(support::tables().len(), 2, "its own");
        let address = network.give_service_address(&service("site")).unwrap();
        serve_peer_address(TcpListener::bind(at(address, 80)).unwrap());
        let home = Home { directory: parent, network };
        let a = home.instance("a-1-x", true);
        assert_eq!(a.namespace.run(|| ask_peer_address(at(address, 80))), Some(a.address));
    });
}

#[test]
fn the_bridge_of_a_home_that_is_gone_goes_with_what_it_turned_on() {
    Namespace::host().run(|| {
        let _outside = outside();
        let before = links();
        let (gone, live) = (Home::up(), Home::up());
        let a = live.instance("a-1-x", true);
        let with_live = links();
        let bridge = gone.network.bridge();
        assert_eq!(hornero_net::left_behind().unwrap(), Vec::<String>::new(), "both are there");
        let owner = gone.directory.path().display().to_string();
        drop(gone);
        let left = format!("bridge `{bridge}` of `{owner}`");
        assert_eq!(hornero_net::left_behind().unwrap(), [left]);
        let mut next = Home::up();
        assert!(!links().contains(&bridge));
        assert_eq!(support::tables().len(), 4, "those of the two that live");
        assert_eq!(forwarding("wan"), "1", "the live one needs it");
        assert!(a.namespace.run(|| ping_answers(live.network.gateway())));
        next.network.up().unwrap();
        next.network.down().unwrap();
        live.network.detach(&a.id).unwrap();
        assert_eq!(links().len() + 2, with_live.len(), "one bridge and one port less");

        // The last one to go is the one that is gone; whoever comes next cleans up behind it.
        drop(live);
        let last = Home::up();
        last.network.down().unwrap();
        assert_eq!((links(), forwarding("wan")), (before, "0".to_owned()));
        assert_eq!(support::tables(), Vec::<String>::new());
    });
}

#[test]
fn what_may_still_be_in_use_stays() {
    Namespace::host().run(|| {
        // Deleted while an instance runs: it keeps its connection and its protection.
        let running = Home::up();
        let a = running.instance("a-1-x", true);
        let (gateway, bridge) = (running.network.gateway(), running.network.bridge());
        drop(running);
        // Deleted, or not to be seen from here, while its control process runs.
        let serving = Home::up();
        let at_gateway = (serving.network.gateway(), hornero_net::dns::PORT);
        let server = std::net::UdpSocket::bind(at_gateway).unwrap();
        let served = serving.network.bridge();
        drop(serving);
        // With no instance yet, and with a path that the bridge's description holds no more than
        // the end of.
        let parent = tempfile::tempdir().unwrap();
        let deep = parent.path().join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        let mut long = HomeNetwork::open(&deep).unwrap();
        long.up().unwrap();
        // Another program's, which is only called alike.
        ip(&["link", "add", "hrn0", "type", "bridge"]);
        ip(&["link", "add", "hrn01234567", "type", "bridge"]);
        ip(&["link", "set", "hrn01234567", "alias", "hornero home /nowhere"]);

        let mut other = Home::up();
        for bridge in [&bridge, &served, &long.bridge(), "hrn0", "hrn01234567"] {
            assert!(links().iter().any(|link| link == bridge), "{bridge}");
        }
        assert_eq!(support::tables().len(), 8);
        assert!(a.namespace.run(|| ping_answers(gateway)));

        // Once they have ended nothing keeps them.
        drop(server);
        drop(a);
        let deadline = Instant::now() + Duration::from_secs(20);
        while support::tables().len() != 4 {
            assert!(Instant::now() < deadline, "{:?}", links());
            other.network.up().unwrap();
        }
        assert!(!links().contains(&bridge) && !links().contains(&served));
        assert!(links().contains(&long.bridge()));
    });
}

#[test]
fn homes_that_come_and_go_at_the_same_time_leave_each_other_alone() {
    let host = Namespace::host();
    host.run(|| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..6 {
                        let mut home = Home::up();
                        let a = home.instance("a-1-x", true);
                        home.network.up().unwrap();
                        let gateway = home.network.gateway();
                        assert!(a.namespace.run(|| ping_answers(gateway)), "{thread} {round}");
                        home.network.detach(&a.id).unwrap();
                        match round % 3 {
                            0 => home.network.down().unwrap(),
                            1 => lose_bridge(&home),
                            // The directory is deleted, and everything else stays.
                            _ => {}
                        }
                    }
                });
            }
        });
        let before = support::tables();
        let last = Home::up();
        assert_eq!(support::tables().len(), 2, "left by then: {before:?}");
        last.network.down().unwrap();
        assert_eq!(links(), ["lo"]);
        assert_eq!(support::tables(), Vec::<String>::new());
    });
}
