//! Where an answer sends whoever asked: registries keep blobs in storages elsewhere.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, ToSocketAddrs as _},
    sync::{Arc, Mutex, PoisonError},
};

use ureq::{
    http::{Method, Uri, header},
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

use super::answer::Answer;

/// Registries send blobs' readers to a storage of their own, once.
pub(super) const REDIRECTS_MAX: usize = 5;

/// The address that the question is to be put to instead; none for an answer that is one, and for questions that are
/// more than a question: what is to be written goes nowhere else.
pub(super) fn target(method: &Method, from: &str, answer: &Answer) -> Option<String> {
    let asks = *method == Method::GET || *method == Method::HEAD;
    let leads = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = answer.headers().get(header::LOCATION)?.to_str().ok()?;
    (asks && leads).then(|| resolve(from, location)).flatten()
}

/// Whether an address, as far as its name can be resolved here, is this host's loopback or one of its link, where the
/// host's own services and a cloud's metadata are. A proxy may resolve it to something else.
pub(super) fn leads_near(address: &str) -> bool {
    let uri: Option<Uri> = address.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // A name that can't be resolved leads nowhere, or to a proxy.
    let found = (host, 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    found.unwrap_or_default().iter().any(|address| is_near(address.ip()))
}

/// What an agent connects to: names are resolved here alone, so that what is looked at is what is connected to, whatever
/// a name means a moment later.
#[derive(Debug, Clone)]
pub(super) struct Destinations {
    resolver: Arc<dyn Resolver>,
    may_be_near: bool,
    /// Of each host, whether all that it was ever resolved to is near.
    near_hosts: Arc<Mutex<BTreeMap<String, bool>>>,
}

/// Why an address is not connected to.
#[derive(Debug, thiserror::Error)]
#[error("it is an address of this host")]
pub(super) struct IsNear;

impl Destinations {
    pub(super) fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, may_be_near: true, near_hosts: Arc::default() }
    }

    /// The same without this host and its link.
    pub(super) fn away(&self) -> Self {
        Self { may_be_near: false, ..self.clone() }
    }

    /// Whether all connections to a host led near; none where there were none, as through a proxy.
    pub(super) fn were_near(&self, address: &str) -> Option<bool> {
        let uri: Uri = address.parse().ok()?;
        let known = self.near_hosts.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(uri.host()?).copied()
    }
}

impl Resolver for Destinations {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        // Whoever set a proxy may have it on this host; what it connects to is its own affair.
        if config.proxy().is_some_and(|proxy| Some(proxy.host()) == uri.host()) {
            return Ok(found);
        }
        if !self.may_be_near && found.iter().any(|address| is_near(address.ip())) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, IsNear).into());
        }
        let near = found.iter().all(|address| is_near(address.ip()));
        let mut known = self.near_hosts.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(uri.host().unwrap_or_default().to_owned()).or_insert(true) &= near;
        Ok(found)
    }
}

/// Whether a request ended because it would have led to this host.
pub(super) fn was_near(error: &ureq::Error) -> bool {
    let ureq::Error::Io(error) = error else { return false };
    error.get_ref().is_some_and(|inner| inner.is::<IsNear>())
}

fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_link_local() || address.octets()[0] == 0
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local()
        }
    }
}

/// The address that `location` means to who asked at `from` (RFC 3986 section 4.2).
fn resolve(from: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let before_path = &location[..location.find(['/', '?']).unwrap_or(location.len())];
    if before_path.contains(':') {
        return Some(location.to_owned());
    }
    let from: Uri = from.parse().ok()?;
    let (scheme, authority, path) = (from.scheme_str()?, from.authority()?, from.path());
    Some(match location.chars().next() {
        Some('/') if location.starts_with("//") => format!("{scheme}:{location}"),
        Some('/') => format!("{scheme}://{authority}{location}"),
        Some('?') => format!("{scheme}://{authority}{path}{location}"),
        _ => {
            let directory = &path[..path.rfind('/').map_or(0, |at| at + 1)];
            format!("{scheme}://{authority}{directory}{location}")
        }
    })
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use ureq::unversioned::transport::DefaultConnector;

    use super::*;

    #[test]
    fn nobody_elsewhere_leads_to_this_host() {
        for near in [
            "http://127.0.0.1:2019/config",
            "https://127.9.9.9/x",
            "http://localhost:80/",
            "http://user@localhost/",
            "http://[::1]:80/x",
            "http://[::ffff:127.0.0.1]/x",
            "http://0.0.0.0:80/",
            "http://0:80/",
            "http://2130706433/",
            "http://169.254.169.254/latest/meta-data",
            "http://[fe80::1]/x",
        ] {
            assert!(leads_near(near), "{near}");
        }
        for elsewhere in
            ["https://192.0.2.8/blob", "https://10.0.0.7/blob", "https://[2001:db8::1]/"]
        {
            assert!(!leads_near(elsewhere), "{elsewhere}");
        }
    }

    /// Names lead to what stands here, one answer after the other; the last one stays.
    #[derive(Debug)]
    struct Changing(Mutex<Vec<SocketAddr>>);

    impl Resolver for Changing {
        fn resolve(
            &self,
            _: &Uri,
            _: &ureq::config::Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, ureq::Error> {
            let mut left = self.0.lock().unwrap();
            let mut found = self.empty();
            found.push(left[0]);
            if left.len() > 1 {
                left.remove(0);
            }
            Ok(found)
        }
    }

    fn agent(destinations: Destinations) -> ureq::Agent {
        let config = ureq::Agent::config_builder().proxy(None).max_redirects(0).build();
        ureq::Agent::with_parts(config, DefaultConnector::default(), destinations)
    }

    #[test]
    fn a_name_that_changes_its_meaning_leads_nobody_here() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let here = listener.local_addr().unwrap();
        let far: SocketAddr = "192.0.2.7:80".parse().unwrap();
        // As one that was looked up before would have said: it is far.
        let names = Arc::new(Changing(Mutex::new(vec![far, here])));
        let destinations = Destinations::new(names);
        // The first time it is far, and takes long to answer.
        let slow = agent(destinations.clone()).get("http://storage.test/x");
        let slow = slow.config().timeout_connect(Some(std::time::Duration::from_millis(1))).build();
        assert!(!was_near(&slow.call().unwrap_err()));
        let error = agent(destinations.away()).get("http://storage.test/x").call().unwrap_err();
        assert!(was_near(&error), "{error:?}");
        assert!(listener.accept().is_err(), "nobody came");
        // One that was far once is not of this host, whatever its name means now.
        assert_eq!(destinations.were_near("http://storage.test/"), Some(false));
        assert_eq!(destinations.were_near("http://other.test/"), None);
    }

    #[test]
    fn a_registry_of_this_host_is_known_by_what_was_connected_to() {
        let here: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let destinations = Destinations::new(Arc::new(Changing(Mutex::new(vec![here]))));
        let _ = agent(destinations.clone()).get("http://registry.test/v2/").call();
        assert_eq!(destinations.were_near("http://registry.test:5000/v2/x"), Some(true));
    }

    #[test]
    fn locations_are_relative_to_who_gave_them() {
        let from = "https://store.example:444/a/b?key=1";
        for (location, expected) in [
            ("https://other.example/x?y=http://z", "https://other.example/x?y=http://z"),
            ("HTTP://other.example/x#y", "HTTP://other.example/x"),
            ("//other.example/x", "https://other.example/x"),
            ("/x?y=1", "https://store.example:444/x?y=1"),
            ("?y=1", "https://store.example:444/a/b?y=1"),
            ("x/y:z", "https://store.example:444/a/x/y:z"),
            ("", "https://store.example:444/a/"),
        ] {
            assert_eq!(resolve(from, location).as_deref(), Some(expected), "{location}");
        }
    }
}
