//! The name server as instances and the host's resolvers see it.

mod support;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use hornero_model::ServiceName;
use hornero_net::{
    Attachment,
    dns::{HomeNames, PORT, Server, Upstreams},
};
use support::{Home, Namespace};

const A: u16 = 1;
const AAAA: u16 = 28;
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
const NO_ERROR: u8 = 0;
const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NAME_ERROR: u8 = 3;
const REFUSED: u8 = 5;

fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

/// What a client makes of a response: code, whether cut short, and the address at its end.
#[derive(Debug, PartialEq, Eq)]
struct Response {
    code: u8,
    truncated: bool,
    address: Option<Ipv4Addr>,
}

fn found(address: Ipv4Addr) -> Option<Response> {
    Some(Response { code: NO_ERROR, truncated: false, address: Some(address) })
}

fn nothing(code: u8) -> Option<Response> {
    Some(Response { code, truncated: false, address: None })
}

fn read_response(asked: &[u8], bytes: &[u8]) -> Response {
    assert_eq!(bytes[..2], asked[..2], "the id of the query");
    assert_ne!(bytes[2] & 0x80, 0, "a response");
    let end: Option<[u8; 4]> = bytes[bytes.len() - 4..].try_into().ok();
    Response {
        code: bytes[3] & 15,
        truncated: bytes[2] & 2 != 0,
        address: (bytes[7] > 0).then(|| end.unwrap().into()),
    }
}

fn ask_bytes(server: SocketAddr, bytes: &[u8]) -> Option<Response> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
    socket.connect(server).unwrap();
    socket.send(bytes).unwrap();
    let mut buffer = [0; 4096];
    let read = socket.recv(&mut buffer).ok()?;
    assert!(read <= 512, "this client speaks no EDNS");
    Some(read_response(bytes, &buffer[..read]))
}

fn ask(server: SocketAddr, name: &str, kind: u16) -> Option<Response> {
    ask_bytes(server, &query(name, kind))
}

fn ask_tcp(server: SocketAddr, name: &str) -> Option<Response> {
    let mut stream = TcpStream::connect(server).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
    let asked = query(name, A);
    // In two parts, as a network may deliver it.
    let framed = [&(asked.len() as u16).to_be_bytes()[..], &asked].concat();
    stream.write_all(&framed[..7]).unwrap();
    stream.write_all(&framed[7..]).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    Some(read_response(&asked, &bytes))
}

/// A resolver of the host: it knows every name. `forged…` first gets answers with a wrong id and a
/// wrong question, `large…` is cut short over UDP, `silent…` gets none, `broken…` a failure.
struct Resolver {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

fn answer(asked: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let mut bytes = asked.to_vec();
    bytes[2] |= 0x80;
    bytes[7] = 1;
    bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    bytes.extend_from_slice(&address.octets());
    bytes
}

fn resolver(address: &str) -> Resolver {
    let udp = UdpSocket::bind(address).unwrap();
    let tcp = TcpListener::bind(udp.local_addr().unwrap()).unwrap();
    let resolver =
        Resolver { address: udp.local_addr().unwrap(), asked: Arc::new(AtomicUsize::new(0)) };
    let asked = Arc::clone(&resolver.asked);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((read, client)) = udp.recv_from(&mut buffer) {
            asked.fetch_add(1, Ordering::Relaxed);
            for bytes in udp_answers(&buffer[..read]) {
                udp.send_to(&bytes, client).unwrap();
            }
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut bytes).unwrap();
            // 2000 bytes that only TCP carries, before the address.
            let mut bytes = answer(&bytes, FAR);
            let address = bytes.split_off(bytes.len() - 4);
            bytes.resize(bytes.len() + 2000, 0);
            bytes.extend_from_slice(&address);
            stream.write_all(&(bytes.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&bytes).unwrap();
        }
    });
    resolver
}

fn udp_answers(asked: &[u8]) -> Vec<Vec<u8>> {
    let good = answer(asked, FAR);
    let forged = Ipv4Addr::new(192, 0, 2, 66);
    match &asked[13..17] {
        b"sile" => Vec::new(),
        b"brok" => {
            let mut bytes = asked.to_vec();
            bytes[2] |= 0x80;
            bytes[3] |= SERVER_FAILURE;
            vec![bytes]
        }
        b"forg" => {
            let (mut id, mut question) = (answer(asked, forged), answer(asked, forged));
            id[0] ^= 1;
            question[13] ^= 1;
            vec![vec![0; 5], id, question, good]
        }
        b"larg" => {
            let mut bytes = asked.to_vec();
            bytes[2] |= 0x82;
            vec![bytes]
        }
        // Larger than the client said it takes.
        b"over" => vec![[good, vec![0; 600]].concat()],
        _ => vec![good],
    }
}

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

type Table = Arc<RwLock<BTreeMap<ServiceName, Ipv4Addr>>>;

/// A server on loopback that knows `site`.
fn server(upstreams: Vec<SocketAddr>) -> (Server, SocketAddr, Table) {
    let names: Table = Arc::new(RwLock::new([(service("site"), FAR)].into()));
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(address, Arc::clone(&names), Upstreams::fixed(upstreams)).unwrap();
    let address = server.address().unwrap();
    (server, address, names)
}

#[test]
fn instances_resolve_services_and_what_the_host_resolves() {
    Namespace::host().run(|| {
        let home = Home::up();
        let site = home.network.give_service_address(&service("site")).unwrap();
        let resolver = resolver("127.0.0.1:53");
        let resolv_conf = home.directory.path().join("resolv.conf");
        std::fs::write(&resolv_conf, "nameserver 127.0.0.1\n").unwrap();
        let gateway = SocketAddr::from((home.network.gateway(), PORT));
        let names = HomeNames::new(home.directory.path());
        let _server = Server::bind(gateway, names, Upstreams::in_file(&resolv_conf)).unwrap();
        let a = home.instance("a-1-x", true);
        a.namespace.run(|| {
            assert_eq!(ask(gateway, "site.internal", A), found(site));
            assert_eq!(ask_tcp(gateway, "site.internal"), found(site));
            assert_eq!(ask(gateway, "other.internal", A), nothing(NAME_ERROR));
            assert_eq!(resolver.asked.load(Ordering::Relaxed), 0, "the zone stays here");
            assert_eq!(ask(gateway, "example.org", A), found(FAR));
            assert_eq!(ask_tcp(gateway, "example.org"), found(FAR));
        });
        // A service that comes later is known at once.
        let other = home.network.give_service_address(&service("other")).unwrap();
        assert_eq!(a.namespace.run(|| ask(gateway, "other.internal", A)), found(other));
        home.network.release_service_address(&service("other")).unwrap();
        assert_eq!(a.namespace.run(|| ask(gateway, "other.internal", A)), nothing(NAME_ERROR));
    });
}

#[test]
fn without_egress_no_name_goes_outside() {
    Namespace::host().run(|| {
        let home = Home::up();
        let site = home.network.give_service_address(&service("site")).unwrap();
        let resolver = resolver("127.0.0.1:0");
        let gateway = SocketAddr::from((home.network.gateway(), PORT));
        let names = HomeNames::new(home.directory.path());
        let upstreams = Upstreams::fixed(vec![resolver.address]);
        let _server = Server::bind(gateway, names, upstreams).unwrap();
        let bound = home.instance("a-1-x", false);
        bound.namespace.run(|| {
            assert_eq!(ask(gateway, "site.internal", A), found(site));
            assert_eq!(ask(gateway, "secret.example.org", A), nothing(REFUSED));
            assert_eq!(ask_tcp(gateway, "secret.example.org"), nothing(REFUSED));
        });
        assert_eq!(resolver.asked.load(Ordering::Relaxed), 0);
        // The host itself, and another instance at the same time, do ask.
        assert_eq!(ask(gateway, "example.org", A), found(FAR));
        let free = home.instance("b-1-x", true);
        assert_eq!(free.namespace.run(|| ask(gateway, "example.org", A)), found(FAR));
        // Attached anew, with the other choice and under the same address.
        let again = Attachment { instance: bound.id.clone(), address: bound.address, egress: true };
        let namespace = Namespace::new();
        home.network.attach(namespace.fd(), &again).unwrap();
        assert_eq!(namespace.run(|| ask(gateway, "example.org", A)), found(FAR));
    });
}

#[test]
fn the_zone_is_answered_whole() {
    Namespace::host().run(|| {
        let (_server, address, names) = server(Vec::new());
        assert_eq!(ask(address, "site.internal", A), found(FAR));
        assert_eq!(ask(address, "SITE.Internal", A), found(FAR));
        assert_eq!(ask(address, "site.internal", AAAA), nothing(NO_ERROR));
        assert_eq!(ask(address, "internal", A), nothing(NO_ERROR));
        assert_eq!(ask(address, "x.site.internal", A), nothing(NAME_ERROR));
        assert_eq!(ask(address, "-.internal", A), nothing(NAME_ERROR));
        assert_eq!(ask(address, "site.internal", 252), nothing(REFUSED), "a zone transfer");
        names.write().unwrap().clear();
        assert_eq!(ask(address, "site.internal", A), nothing(NAME_ERROR));
    });
}

#[test]
fn without_resolvers_other_names_are_refused() {
    Namespace::host().run(|| {
        let (_server, address, _) = server(Vec::new());
        assert_eq!(ask(address, "example.org", A), nothing(REFUSED));
        assert_eq!(ask_tcp(address, "example.org"), nothing(REFUSED));
    });
}

#[test]
fn a_dead_or_failing_resolver_is_passed_over() {
    Namespace::host().run(|| {
        let good = resolver("127.0.0.1:0");
        let dead = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (_server, address, _) = server(vec![dead, good.address]);
        assert_eq!(ask(address, "example.org", A), found(FAR));
        assert_eq!(ask(address, "broken.example.org", A), nothing(SERVER_FAILURE));
        assert_eq!(ask(address, "silent.example.org", A), nothing(SERVER_FAILURE));
        assert!(good.asked.load(Ordering::Relaxed) >= 5, "each was asked again");
    });
}

#[test]
fn forged_answers_are_not_taken() {
    Namespace::host().run(|| {
        let resolver = resolver("127.0.0.1:0");
        let (_server, address, _) = server(vec![resolver.address]);
        assert_eq!(ask(address, "forged.example.org", A), found(FAR));
    });
}

#[test]
fn large_answers_come_over_tcp() {
    Namespace::host().run(|| {
        let resolver = resolver("127.0.0.1:0");
        let (_server, address, _) = server(vec![resolver.address]);
        let cut = Some(Response { code: NO_ERROR, truncated: true, address: None });
        assert_eq!(ask(address, "large.example.org", A), cut);
        assert_eq!(ask(address, "oversize.example.org", A), cut);
        assert_eq!(ask_tcp(address, "large.example.org"), found(FAR));
    });
}

#[test]
fn nonsense_does_no_harm() {
    Namespace::host().run(|| {
        let (_server, address, _) = server(Vec::new());
        let mut two_questions = query("site.internal", A);
        two_questions[5] = 2;
        assert_eq!(ask_bytes(address, &two_questions), nothing(FORMAT_ERROR));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for nonsense in [&b""[..], b"x", &[0xff; 12], &[0; 11], &[0xff; 9000]] {
            socket.send_to(nonsense, address).unwrap();
        }
        // A length beyond any query, and a connection that says nothing.
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&[0xff, 0xff, 1, 2, 3]).unwrap();
        assert!(!matches!(stream.read(&mut [0; 1]), Ok(1..)), "closed without an answer");
        let _idle = TcpStream::connect(address).unwrap();
        assert_eq!(ask(address, "site.internal", A), found(FAR));
        assert_eq!(ask_tcp(address, "site.internal"), found(FAR));
    });
}

#[test]
fn one_client_can_not_use_up_what_all_have() {
    Namespace::host().run(|| {
        let resolver = resolver("127.0.0.1:0");
        let (_server, address, _) = server(vec![resolver.address]);
        let greedy = UdpSocket::bind("127.0.0.2:0").unwrap();
        greedy.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        for _ in 0..100 {
            greedy.send_to(&query("silent.example.org", A), address).unwrap();
        }
        let mut buffer = [0; 512];
        let refused = (0..36).filter(|_| greedy.recv(&mut buffer).is_ok()).count();
        assert_eq!(refused, 36, "all but 64 are told at once");
        assert_eq!(ask(address, "example.org", A), found(FAR), "another client");
    });
}

#[test]
fn a_successor_takes_over_without_a_lost_query() {
    Namespace::host().run(|| {
        let (mut running, address, names) = server(Vec::new());
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    let mut asked = 0;
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(ask(address, "site.internal", A), found(FAR));
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for _ in 0..20 {
            let successor =
                Server::bind(address, Arc::clone(&names), Upstreams::fixed(Vec::new())).unwrap();
            drop(std::mem::replace(&mut running, successor));
            assert_eq!(ask(address, "site.internal", A), found(FAR));
        }
        stop.store(true, Ordering::Relaxed);
        let asked: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(asked > 20, "only {asked} queries");
        drop(running);
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    });
}
