//! The sockets of a network namespace, as `/proc/PID/net` shows them (proc_pid_net(5)).

use std::{
    fs::File,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use hornero_engine_port::evidence::{Evidence, ObservedSocket};

/// Sockets that are kept: of a server with more, most say the same.
const SOCKETS_MAX: usize = 1_000;
/// Of each table: some ten thousand sockets.
const TABLE_BYTES: u64 = 2 << 20;
/// States of TCP by their numbers, from 1 (the kernel's `tcp_states.h`).
const STATES: [&str; 11] = [
    "established",
    "syn-sent",
    "syn-received",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "closed",
    "close-wait",
    "last-ack",
    "listen",
    "closing",
];

/// Looks at the sockets that a process can see.
pub fn observe(pid: u32, evidence: &mut Evidence) {
    let mut found = Vec::new();
    for kind in ["tcp", "tcp6", "udp", "udp6", "unix"] {
        let path = format!("/proc/{pid}/net/{kind}");
        let Some(text) = text(Path::new(&path)) else {
            evidence.miss(format!("{kind} sockets"), format!("`{path}` can't be read"));
            continue;
        };
        let lines = text.lines().skip(1);
        found.extend(lines.filter_map(|line| match kind {
            "unix" => local(line),
            _ => internet(kind, line),
        }));
    }
    // Those that listen say most: no number of others leaves them out.
    found.sort_by_key(|socket| socket.state != "listen");
    found.truncate(SOCKETS_MAX);
    evidence.sockets.extend(found);
}

fn internet(kind: &str, line: &str) -> Option<ObservedSocket> {
    let mut words = line.split_whitespace().skip(1);
    let (own, other) = (address(words.next()?)?, address(words.next()?)?);
    let state = usize::from_str_radix(words.next()?, 16).ok()?;
    let waiting = words.next()?.split_once(':')?.1;
    let state = match kind.starts_with("tcp") {
        true => STATES.get(state.checked_sub(1)?).copied().unwrap_or_default(),
        false => "",
    };
    Some(ObservedSocket {
        kind: kind.to_owned(),
        local: own.to_string(),
        remote: other.to_string(),
        state: state.to_owned(),
        waiting: u64::from_str_radix(waiting, 16).ok()?,
    })
}

/// An address of these tables: words of 32 bits in the host's order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    let address = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let mut bytes = [0; 16];
            for (to, from) in bytes.chunks_exact_mut(4).zip(words) {
                to.copy_from_slice(&from.to_ne_bytes());
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// A socket of this host with a name.
fn local(line: &str) -> Option<ObservedSocket> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let path = words.get(7)?;
    let listens = words.get(3)?.ends_with("10000");
    Some(ObservedSocket {
        kind: "unix".to_owned(),
        local: (*path).to_owned(),
        remote: String::new(),
        state: if listens { "listen" } else { "" }.to_owned(),
        waiting: 0,
    })
}

fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(TABLE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found_by_its_port() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut evidence = Evidence::default();
            observe(std::process::id(), &mut evidence);
            let own = listener.local_addr().unwrap().to_string();
            let found = evidence.sockets.iter().find(|of| of.listens_on() == Some(port));
            assert_eq!(found.map(|of| of.local.as_str()), Some(own.as_str()));
        }
    }

    #[test]
    fn lines_that_are_none_are_passed() {
        for line in ["", "0: 0100007F:1F90", "0: zz:1F90 00000000:0000 0A 0:0", "0: 0:0 0:0 0A 0:0"]
        {
            assert_eq!(internet("tcp", line), None, "{line}");
        }
        let line = "0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:0 0 33 0 1";
        let found = internet("tcp", line).unwrap();
        assert_eq!((found.listens_on(), found.waiting), (Some(8080), 3));
        assert_eq!(found.local, "127.0.0.1:8080");
        let line = "ffff: 00000002 00000000 00010000 0001 01 99 /run/x.sock";
        assert_eq!(local(line).unwrap().local, "/run/x.sock");
    }
}
