//! Network namespaces for tests: nothing here touches the machine's own interfaces, and all of it
//! goes with the threads and descriptors that hold it, also when a test fails.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    panic::resume_unwind,
    thread,
    time::Duration,
};

use hornero_model::InstanceId;
use hornero_net::{Attachment, HomeNetwork};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Long enough for a packet on a busy machine, short enough to wait for one that never comes.
pub const PATIENCE: Duration = Duration::from_millis(700);

/// A network namespace of its own.
pub struct Namespace {
    descriptor: OwnedFd,
}

impl Namespace {
    pub fn new() -> Self {
        let descriptor = on_thread(|| {
            // SAFETY: only the network namespace is unshared, no descriptors.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
            File::open("/proc/thread-self/ns/net").unwrap().into()
        });
        Self { descriptor }
    }

    /// A namespace in which `lo` is up and nothing forwards, as on a fresh host; whether the
    /// machine forwards is not for the test to depend on.
    pub fn host() -> Self {
        let host = Self::new();
        host.run(|| {
            ip(&["link", "set", "lo", "up"]);
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        });
        host
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Runs `work` on a thread inside; threads it starts and processes it spawns are inside too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on_thread(|| {
            move_into_link_name_space(self.fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }
}

fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| resume_unwind(panic)))
}

/// iproute2, to set up what is not Hornero's and to look with other eyes than its own.
pub fn ip(arguments: &[&str]) {
    let output = std::process::Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
}

/// What `ip` prints.
pub fn ip_shows(arguments: &[&str]) -> String {
    let output = std::process::Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A home in a directory of its own.
pub struct Home {
    pub directory: tempfile::TempDir,
    pub network: HomeNetwork,
}

impl Home {
    /// A home whose network is up in the caller's namespace.
    pub fn up() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut network = HomeNetwork::open(directory.path()).unwrap();
        network.up().unwrap();
        Self { directory, network }
    }

    /// An attached instance.
    pub fn instance(&self, name: &str, egress: bool) -> Instance {
        let id = InstanceId::new(name).unwrap();
        let address = self.network.allocate_address(&id).unwrap();
        let namespace = Namespace::new();
        let attachment = Attachment { instance: id.clone(), address, egress };
        self.network.attach(namespace.fd(), &attachment).unwrap();
        Instance { id, address, namespace }
    }
}

/// An attached instance.
pub struct Instance {
    pub id: InstanceId,
    pub address: Ipv4Addr,
    pub namespace: Namespace,
}

/// A TCP server that answers each connection with the peer's address as it sees it.
pub fn serve_peer_address(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
            let _ = stream.write_all(peer.as_bytes());
        }
    });
}

/// Whether a TCP connection comes about.
pub fn connects(address: impl Into<SocketAddr>) -> bool {
    TcpStream::connect_timeout(&address.into(), PATIENCE).is_ok()
}

/// Which address the server at `address` sees this thread's namespace come from, if it answers.
pub fn ask_peer_address(address: impl Into<SocketAddr>) -> Option<Ipv4Addr> {
    let mut stream = TcpStream::connect_timeout(&address.into(), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.parse().ok()
}

/// Whether a UDP server that echoes answers from here.
pub fn udp_answers(address: impl Into<SocketAddr>) -> bool {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 16];
    socket.connect(address.into()).is_ok()
        && socket.send(b"ping").is_ok()
        && socket.recv(&mut buffer).is_ok_and(|read| &buffer[..read] == b"ping")
}

/// A UDP server that echoes.
pub fn serve_echo(socket: UdpSocket) {
    thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((read, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..read], peer);
        }
    });
}

/// Sees every ICMP packet that reaches this thread's namespace.
pub struct IcmpWatch {
    socket: OwnedFd,
}

impl IcmpWatch {
    pub fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, ipproto, socket};
        let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
        Self { socket }
    }

    /// How many packets have come from this address since the last call.
    pub fn seen_from(&self, source: Ipv4Addr) -> usize {
        let mut buffer = [0; 128];
        let mut seen = 0;
        let flags = rustix::net::RecvFlags::DONTWAIT;
        while let Ok((read, _)) = rustix::net::recv(&self.socket, &mut buffer[..], flags) {
            seen += usize::from(read >= 20 && buffer[12..16] == source.octets());
        }
        seen
    }
}

/// Whether `ping` gets an answer.
pub fn ping_answers(address: Ipv4Addr) -> bool {
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket,
    };
    let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
    rustix::net::sockopt::set_socket_timeout(
        &socket,
        rustix::net::sockopt::Timeout::Recv,
        Some(PATIENCE),
    )
    .unwrap();
    // Type 8, code 0, checksum, identifier 1, sequence number 1.
    let request = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
    let peer = rustix::net::SocketAddrV4::new(address, 0);
    if sendto(&socket, &request, SendFlags::empty(), &peer).is_err() {
        return false;
    }
    let mut buffer = [0; 128];
    loop {
        match recv(&socket, &mut buffer[..], RecvFlags::empty()) {
            // A raw socket also gets what else arrives here: the answer has type 0 behind 20 bytes.
            Ok((read, _))
                if read >= 28 && buffer[20] == 0 && buffer[12..16] == address.octets() =>
            {
                return true;
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// One netfilter message to the kernel, and the bytes of all its answers.
fn netfilter(kind: u8, flags: u16, batch: bool) -> Vec<u8> {
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::{NETFILTER, SocketAddrNetlink},
        recv, sendto, socket_with,
    };
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))
            .unwrap();
    let mut bytes = Vec::new();
    let mut message = |kind: u16, flags: u16, resource: u16| {
        bytes.extend_from_slice(&20u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | 1).to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&resource.to_be_bytes());
    };
    let nf_tables = 10u16;
    if batch {
        message(0x10, 0, nf_tables);
    }
    message(nf_tables << 8 | u16::from(kind), flags, 0);
    if batch {
        message(0x11, 0, nf_tables);
    }
    sendto(&socket, &bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).unwrap();
    let mut answers = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while let Ok((read, _)) = recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT) {
        answers.extend_from_slice(&buffer[..read]);
    }
    answers
}

/// The names of all nf_tables tables in this thread's namespace.
pub fn tables() -> Vec<String> {
    const GET_TABLE: u8 = 1;
    const DUMP: u16 = 0x300;
    let answers = netfilter(GET_TABLE, DUMP, false);
    let mut rest = &answers[..];
    let mut names = Vec::new();
    while rest.len() >= 16 {
        let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
        let kind = u16::from_ne_bytes(rest[4..6].try_into().unwrap());
        assert_ne!(kind, 2, "the kernel refused to list tables");
        // The name is the first attribute behind both headers.
        if kind >> 8 == 10 {
            let end = 20 + usize::from(u16::from_ne_bytes(rest[20..22].try_into().unwrap()));
            names.push(String::from_utf8_lossy(&rest[24..end - 1]).into_owned());
        }
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    names
}

/// Removes all tables, as `nft flush ruleset` does.
pub fn delete_tables() {
    const DELETE_TABLE: u8 = 2;
    netfilter(DELETE_TABLE, 0, true);
}
