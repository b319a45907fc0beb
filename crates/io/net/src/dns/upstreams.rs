//! The resolvers of the host, which know all names but `.internal` ones.

use std::{
    io::Read,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::names::Stamp;

/// The port of the domain name system.
pub const PORT: u16 = 53;

/// As many as glibc uses (`MAXNS`).
const SERVERS_MAX: usize = 3;
/// Many times what a list of three servers, search domains and comments takes.
const FILE_MAX_BYTES: u64 = 64 << 10;

/// The servers that queries are sent on to, in order.
#[derive(Debug)]
pub struct Upstreams {
    source: Source,
}

#[derive(Debug)]
enum Source {
    File { path: PathBuf, known: Mutex<(Option<Stamp>, Vec<SocketAddr>)> },
    Fixed(Vec<SocketAddr>),
}

impl Upstreams {
    /// The servers of this host, in `/etc/resolv.conf`.
    pub fn of_host() -> Self {
        Self::in_file(Path::new("/etc/resolv.conf"))
    }

    /// The servers in this file, in resolv.conf(5)'s format; read again when it has changed.
    pub fn in_file(path: &Path) -> Self {
        Self { source: Source::File { path: path.to_owned(), known: Mutex::default() } }
    }

    /// These servers.
    pub fn fixed(servers: Vec<SocketAddr>) -> Self {
        Self { source: Source::Fixed(servers) }
    }

    /// The servers as they are now; none where the file is missing or names none.
    pub(super) fn servers(&self) -> Vec<SocketAddr> {
        match &self.source {
            Source::Fixed(servers) => servers.clone(),
            Source::File { path, known } => {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                let stamp = Stamp::of(path);
                if stamp != known.0 {
                    *known = (stamp, read(path));
                }
                known.1.clone()
            }
        }
    }
}

fn read(path: &Path) -> Vec<SocketAddr> {
    let mut text = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(FILE_MAX_BYTES).read_to_end(&mut text));
    match read {
        Ok(_) => parse(&String::from_utf8_lossy(&text)),
        Err(_) => Vec::new(),
    }
}

fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == "nameserver").then(|| words.next())?
        })
        .filter_map(server)
        .take(SERVERS_MAX)
        .collect()
}

/// An address, with its link behind `%` where it is a link-local one.
fn server(text: &str) -> Option<SocketAddr> {
    let Some((address, link)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, PORT));
    };
    let index = std::fs::read_to_string(Path::new("/sys/class/net").join(link).join("ifindex"));
    let index = link.parse().or_else(|_| index.unwrap_or_default().trim().parse()).ok()?;
    Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, index).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_understood() {
        let check = |text: &str, servers: &[&str]| {
            let found: Vec<String> = parse(text).iter().map(SocketAddr::to_string).collect();
            assert_eq!(found, servers, "{text:?}");
        };
        check("", &[]);
        check("# nameserver 1.2.3.4\nsearch example.org\noptions ndots:2\n", &[]);
        check("nameserver 192.0.2.1\n", &["192.0.2.1:53"]);
        check(" nameserver\t2001:db8::1 # why\nnameserver x\n", &["[2001:db8::1]:53"]);
        check("nameserver fe80::1%3", &["[fe80::1%3]:53"]);
        check("nameserver fe80::1%../../..", &[]);
        let many = "nameserver 192.0.2.1\n".repeat(9);
        check(&many, &["192.0.2.1:53"; 3]);
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let upstreams = Upstreams::in_file(&path);
        assert_eq!(upstreams.servers(), []);
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(upstreams.servers(), ["192.0.2.1:53".parse().unwrap()]);
        std::fs::write(&path, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n").unwrap();
        assert_eq!(upstreams.servers().len(), 2);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(upstreams.servers(), []);
    }
}
