//! The loopback and the first network card: an address by DHCP, or the one on the kernel's command line.

use std::{
    ffi::c_ulong,
    fs,
    io::{Error, ErrorKind, Result},
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsFd,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::{
    lease::{Client, Lease, Reply},
    say, system,
};

/// The command starts without an address when no server answers this long; it may still come.
const ADDRESS_DEADLINE: Duration = Duration::from_secs(10);
/// A card's driver may take a moment to find it.
const CARD_DEADLINE: Duration = Duration::from_secs(2);
/// Between two tries to get or to keep an address.
const RETRY: Duration = Duration::from_secs(2);
const IFF_UP: u16 = 1;
const IFF_RUNNING: u16 = 0x40;
const SIOCADDRT: c_ulong = 0x890b;
const SIOCGIFFLAGS: c_ulong = 0x8913;
const SIOCSIFFLAGS: c_ulong = 0x8914;
const SIOCSIFADDR: c_ulong = 0x8916;
const SIOCSIFNETMASK: c_ulong = 0x891c;
const EEXIST: i32 = 17;

/// Brings the interfaces up; gives the name servers.
pub fn bring_up(host_name: &str) -> Vec<String> {
    if let Err(error) = up("lo") {
        say(&format!("cannot bring up `lo`: {error}"));
    }
    let Some(card) = wait_for_card() else {
        return Vec::new();
    };
    let fixed = fs::read_to_string("/proc/cmdline").ok().and_then(|line| fixed(&line));
    let result = match fixed {
        Some(lease) => up(&card).and_then(|()| configure(&card, &lease)).map(|()| lease),
        None => up(&card).and_then(|()| keep_lease(&card, host_name)),
    };
    match result {
        Ok(lease) => {
            say(&format!("`{card}` has the address {}", lease.address));
            lease.name_servers.iter().map(Ipv4Addr::to_string).collect()
        }
        Err(error) => {
            say(&format!("`{card}` has no address yet: {error}"));
            Vec::new()
        }
    }
}

/// `hornero.ip=10.0.0.5/24 hornero.gateway=10.0.0.1 hornero.dns=10.0.0.2,10.0.0.3` of the command line.
fn fixed(line: &str) -> Option<Lease> {
    let value = |key: &str| {
        let mut words = line.split_ascii_whitespace();
        words.find_map(|word| word.strip_prefix("hornero.")?.strip_prefix(key)?.strip_prefix('='))
    };
    let (address, prefix) = value("ip")?.split_once('/')?;
    let prefix: u32 = prefix.parse().ok().filter(|prefix| (1..=32).contains(prefix))?;
    Some(Lease {
        address: address.parse().ok()?,
        mask: Ipv4Addr::from(u32::MAX << (32 - prefix)),
        gateway: value("gateway").and_then(|text| text.parse().ok()),
        name_servers: value("dns")
            .map(|text| text.split(',').filter_map(|server| server.parse().ok()).collect())
            .unwrap_or_default(),
        server: Ipv4Addr::UNSPECIFIED,
        seconds: u32::MAX,
    })
}

/// The first interface, by name, that is a network card.
fn wait_for_card() -> Option<String> {
    let begun = Instant::now();
    loop {
        let mut names: Vec<String> = fs::read_dir("/sys/class/net")
            .ok()?
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            // `ARPHRD_ETHER`; tunnels and the loopback have other types.
            .filter(|name| read_trimmed(&format!("/sys/class/net/{name}/type")) == "1")
            .collect();
        names.sort();
        if !names.is_empty() || begun.elapsed() > CARD_DEADLINE {
            return names.into_iter().next();
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn read_trimmed(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Gets an address on a thread that keeps it for as long as the machine runs; waits for the first.
fn keep_lease(card: &str, host_name: &str) -> Result<Lease> {
    let hardware = read_trimmed(&format!("/sys/class/net/{card}/address"));
    let parts: Vec<u8> =
        hardware.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let hardware: [u8; 6] =
        parts.try_into().map_err(|_| Error::other("it has no hardware address"))?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68))?;
    socket.set_broadcast(true)?;
    system::bind_to_interface(socket.as_fd(), card)?;
    let (sender, receiver) = mpsc::channel();
    let (card, host_name) = (card.to_owned(), host_name.to_owned());
    thread::spawn(move || {
        // Distinct machines have distinct cards; the time tells restarts apart.
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().subsec_nanos();
        let card_number = u32::from_be_bytes([hardware[2], hardware[3], hardware[4], hardware[5]]);
        let client = Client { hardware, transaction: card_number ^ now, host_name: &host_name };
        let mut held: Option<Lease> = None;
        loop {
            let result = match &held {
                None => obtain(&socket, &client),
                Some(lease) => exchange(&socket, &client, &client.renew(lease)).and_then(given),
            };
            match result.and_then(|lease| configure(&card, &lease).map(|()| lease)) {
                Ok(lease) => {
                    // Half of it, by RFC 2131 4.4.5; at least a second, whatever the server says.
                    let renewal = Duration::from_secs(u64::from((lease.seconds / 2).max(1)));
                    // Nobody listens after the first one.
                    let _ = sender.send(lease.clone());
                    held = Some(lease);
                    thread::sleep(renewal);
                }
                Err(_) => thread::sleep(RETRY),
            }
        }
    });
    receiver.recv_timeout(ADDRESS_DEADLINE).map_err(|_| Error::other("no DHCP server answers"))
}

fn obtain(socket: &UdpSocket, client: &Client<'_>) -> Result<Lease> {
    match exchange(socket, client, &client.discover())? {
        Reply::Offer(offer) => exchange(socket, client, &client.request(&offer)).and_then(given),
        Reply::Acknowledge(lease) => Ok(lease),
        Reply::Refuse => Err(ErrorKind::AddrNotAvailable.into()),
    }
}

fn given(reply: Reply) -> Result<Lease> {
    match reply {
        Reply::Acknowledge(lease) => Ok(lease),
        Reply::Offer(_) | Reply::Refuse => Err(ErrorKind::AddrNotAvailable.into()),
    }
}

/// Sends a message until something answers it.
fn exchange(socket: &UdpSocket, client: &Client<'_>, message: &[u8]) -> Result<Reply> {
    const TRIES: usize = 5;
    const PATIENCE: Duration = Duration::from_secs(1);
    let mut buffer = [0; 1500];
    for _ in 0..TRIES {
        socket.send_to(message, (Ipv4Addr::BROADCAST, 67))?;
        let begun = Instant::now();
        while let Some(left) = PATIENCE.checked_sub(begun.elapsed()).filter(|left| !left.is_zero())
        {
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut buffer) {
                Ok(len) => {
                    if let Some(reply) = client.read(&buffer[..len]) {
                        return Ok(reply);
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Err(ErrorKind::TimedOut.into())
}

/// `struct ifreq`: a name of 16 bytes, then what the request is about.
fn request(name: &str) -> [u8; 40] {
    let mut bytes = [0; 40];
    let len = name.len().min(15);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    bytes
}

/// `struct sockaddr_in` without a port.
fn socket_address(address: Ipv4Addr) -> [u8; 16] {
    const AF_INET: u16 = 2;
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&AF_INET.to_ne_bytes());
    bytes[4..8].copy_from_slice(&address.octets());
    bytes
}

fn up(name: &str) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut bytes = request(name);
    system::interface_request(socket.as_fd(), SIOCGIFFLAGS, &mut bytes)?;
    let flags = u16::from_ne_bytes([bytes[16], bytes[17]]) | IFF_UP | IFF_RUNNING;
    bytes[16..18].copy_from_slice(&flags.to_ne_bytes());
    system::interface_request(socket.as_fd(), SIOCSIFFLAGS, &mut bytes)
}

fn configure(name: &str, lease: &Lease) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    for (number, address) in [(SIOCSIFADDR, lease.address), (SIOCSIFNETMASK, lease.mask)] {
        let mut bytes = request(name);
        bytes[16..32].copy_from_slice(&socket_address(address));
        system::interface_request(socket.as_fd(), number, &mut bytes)?;
    }
    let Some(gateway) = lease.gateway else {
        return Ok(());
    };
    // `struct rtentry`: destination at 8, gateway at 24, mask at 40, flags at 56.
    let mut route = [0; 120];
    for (at, address) in [(8, Ipv4Addr::UNSPECIFIED), (24, gateway), (40, Ipv4Addr::UNSPECIFIED)] {
        route[at..at + 16].copy_from_slice(&socket_address(address));
    }
    const RTF_UP_GATEWAY: u16 = 3;
    route[56..58].copy_from_slice(&RTF_UP_GATEWAY.to_ne_bytes());
    match system::interface_request(socket.as_fd(), SIOCADDRT, &mut route) {
        // A renewed lease has the same way out.
        Err(error) if error.raw_os_error() == Some(EEXIST) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_address_of_the_command_line() {
        let line = "console=ttyS0 hornero.ip=10.1.2.3/20 hornero.gateway=10.1.0.1 hornero.dns=1.1.1.1,x,9.9.9.9";
        let lease = fixed(line).unwrap();
        assert_eq!(lease.address, Ipv4Addr::new(10, 1, 2, 3));
        assert_eq!(lease.mask, Ipv4Addr::new(255, 255, 240, 0));
        assert_eq!(lease.gateway, Some(Ipv4Addr::new(10, 1, 0, 1)));
        assert_eq!(lease.name_servers, [[1, 1, 1, 1], [9, 9, 9, 9]].map(Ipv4Addr::from));
        for none in ["", "hornero.ip=10.1.2.3", "hornero.ip=10.1.2.3/0", "hornero.ip=10.1.2/8"] {
            assert_eq!(fixed(none), None, "{none}");
        }
    }
}
