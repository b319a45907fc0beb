//! TLS towards clients: the certificates of listeners and hosts, read when a table names them and again when they change.
//!
//! Hosts whose files can't be used are down alone: what is asked of them ends in the handshake. Those that had a good
//! certificate before go on with that until it expires, also after the edge has been started again.

pub mod der;
mod expiry;
mod fault;
pub mod file;
mod kept;
mod pair;

use std::{
    cell::RefCell,
    path::Path,
    rc::Rc,
    sync::{Arc, PoisonError, RwLock},
};

use hornero_model::{CopyOnWrite, HostCertificate, Listener, RouteTls};
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

pub(crate) use self::expiry::validity;
pub use self::fault::{CertificateFault, TlsFile};
pub use self::pair::certified;
use self::{
    kept::Kept,
    pair::{Pair, Stamps, is_expired, stamps},
};

/// The certificates of all listeners, each read once however many have it.
#[derive(Debug)]
pub(crate) struct Certificates {
    all: RefCell<Vec<Rc<Certificate>>>,
    kept: Kept,
    /// What listeners serve with, kept from table to table with the sessions that clients can resume.
    configs: RefCell<Vec<(Shown, Arc<ServerConfig>)>>,
}

/// Which certificates a listener shows: that for the rest, and those of hosts.
type Shown = (RouteTls, Vec<HostCertificate>);

/// Certificate and key of listeners, as they are served and as their files are.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: RouteTls,
    served: Arc<Served>,
    seen: RefCell<Stamps>,
    /// Why the files can't be used, if they can't.
    fault: RefCell<Option<String>>,
}

/// The last good certificate with its key; read at each handshake, written when the files have changed.
#[derive(Debug, Default)]
struct Served(RwLock<Option<Arc<CertifiedKey>>>);

impl Served {
    fn last_good(&self) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Finds the certificate for the name that a client asks for (RFC 6066, 3).
#[derive(Debug)]
struct ByName {
    /// Sorted by host, those with `*.` among them.
    hosts: Vec<(String, Arc<Served>)>,
    rest: Arc<Served>,
}

impl ByName {
    fn of_host(&self, host: &str) -> Option<&Arc<Served>> {
        let index = self.hosts.binary_search_by(|(own, _)| own.as_str().cmp(host)).ok()?;
        self.hosts.get(index).map(|(_, served)| served)
    }

    /// That of the name itself, else of the longest `*.` above it, else the one for the rest.
    fn served(&self, name: &str) -> &Served {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let above = || {
            let dots = name.match_indices('.').filter(|(place, _)| *place > 0);
            dots.map(|(place, _)| &name[place..])
                .find_map(|suffix| self.of_host(&format!("*{suffix}")))
        };
        self.of_host(&name).or_else(above).unwrap_or(&self.rest)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.server_name().map_or(&*self.rest, |name| self.served(name)).last_good()
    }
}

impl Certificates {
    /// None yet; those that are good are kept below an edge's own directory.
    pub(crate) fn new(state_dir: &Path) -> Self {
        let kept = Kept::below(state_dir);
        Self { all: RefCell::default(), kept, configs: RefCell::default() }
    }

    /// What serves a listener, if it speaks TLS.
    pub(crate) fn of(&self, listener: &Listener) -> Option<Arc<ServerConfig>> {
        let rest = listener.tls.clone()?;
        let shown = (rest, listener.certificates.clone());
        let mut configs = self.configs.borrow_mut();
        if let Some((_, config)) = configs.iter().find(|(known, _)| *known == shown) {
            return Some(config.clone());
        }
        let (rest, own) = &shown;
        let mut hosts: Vec<(String, Arc<Served>)> =
            own.iter().map(|own| (own.host.clone(), self.served(&own.tls))).collect();
        hosts.sort_by(|one, other| one.0.cmp(&other.0));
        let config = config(ByName { hosts, rest: self.served(rest) });
        configs.push((shown, config.clone()));
        Some(config)
    }

    /// Which of a listener's certificates can't be used, why, and whether they are served all the same.
    pub(crate) fn faults(&self, listener: &Listener) -> Vec<(RouteTls, String, bool)> {
        let mut files: Vec<&RouteTls> = certificates(listener).collect();
        files.sort();
        files.dedup();
        let fault = |files: &RouteTls| {
            let known = self.find(files)?;
            let reason = known.fault.borrow().clone()?;
            let serves = known.served.last_good().is_some();
            let hosts = listener.certificates.iter().filter(|own| own.tls == *files);
            let hosts: Vec<String> = hosts.map(|own| format!("`{}`", own.host)).collect();
            let effect = match (serves, hosts.is_empty()) {
                (true, _) => "the certificate from before is served".to_owned(),
                (false, true) if listener.certificates.is_empty() => {
                    "nobody can connect".to_owned()
                }
                (false, true) => "nobody can connect to other hosts".to_owned(),
                (false, false) => format!("nobody can connect to {}", hosts.join(", ")),
            };
            Some((files.clone(), format!("{reason}; {effect}"), serves))
        };
        files.into_iter().filter_map(fault).collect()
    }

    /// Forgets what no listener has any more.
    pub(crate) fn keep(&self, listeners: &[CopyOnWrite<Listener>]) {
        let used: Vec<&RouteTls> = listeners.iter().flat_map(|of| certificates(of)).collect();
        self.all.borrow_mut().retain(|known| used.contains(&&known.files));
        self.configs.borrow_mut().retain(|((rest, own), _)| {
            listeners.iter().any(|listener| {
                listener.tls.as_ref() == Some(rest) && listener.certificates == *own
            })
        });
    }

    /// Forgets them on disk too: control says that they are gone, and no table that is empty for want of a better one.
    pub(crate) fn sweep(&self, listeners: &[CopyOnWrite<Listener>]) {
        let used: Vec<&RouteTls> = listeners.iter().flat_map(|of| certificates(of)).collect();
        self.kept.retain(&used);
    }

    /// The certificate of these files, read when it is first asked for.
    fn served(&self, files: &RouteTls) -> Arc<Served> {
        if let Some(known) = self.find(files) {
            return known.served.clone();
        }
        let fresh = Rc::new(Certificate {
            files: files.clone(),
            served: Arc::default(),
            seen: RefCell::default(),
            fault: RefCell::default(),
        });
        let seen = stamps(files);
        let read = read(files, &self.kept);
        if read.is_err() {
            *fresh.served.0.write().unwrap_or_else(PoisonError::into_inner) =
                self.kept.load(files).map(Arc::new);
        }
        fresh.take(seen, read);
        self.all.borrow_mut().push(fresh.clone());
        fresh.served.clone()
    }

    /// Looks at the files of every certificate; calls `changed` after each that is another one now, or none.
    pub(crate) async fn look(&self, changed: impl Fn()) {
        let certificates: Vec<Rc<Certificate>> = self.all.borrow().clone();
        for certificate in certificates {
            if certificate.drop_expired() {
                changed();
            }
            let (files, kept) = (certificate.files.clone(), self.kept.clone());
            // What could not be used is tried again though its files look the same: there may have been no memory.
            let known = certificate.fault.borrow().is_none().then(|| *certificate.seen.borrow());
            let looked = tokio::task::spawn_blocking(move || {
                // Before they are read: whatever changes meanwhile is seen by the next look.
                let seen = stamps(&files);
                (known != Some(seen)).then(|| (seen, read(&files, &kept)))
            });
            if let Ok(Some((seen, read))) = looked.await
                && certificate.take(seen, read)
            {
                changed();
            }
        }
    }

    fn find(&self, files: &RouteTls) -> Option<Rc<Certificate>> {
        self.all.borrow().iter().find(|known| known.files == *files).cloned()
    }
}

fn certificates(listener: &Listener) -> impl Iterator<Item = &RouteTls> {
    listener.tls.iter().chain(listener.certificates.iter().map(|own| &own.tls))
}

fn config(by_name: ByName) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has ciphers for both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(by_name));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

impl Certificate {
    /// Serves what was good before no longer than it is; true where that has ended now.
    fn drop_expired(&self) -> bool {
        let is_over = self.fault.borrow().is_some()
            && self.served.last_good().is_some_and(|key| is_expired(&key));
        if is_over {
            *self.served.0.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        is_over
    }

    /// Takes what was read; true where anything is different from before.
    fn take(&self, seen: Stamps, read: Result<CertifiedKey, String>) -> bool {
        let had = self.fault.borrow().is_some();
        *self.seen.borrow_mut() = seen;
        let mut served = self.served.0.write().unwrap_or_else(PoisonError::into_inner);
        let fault = match read {
            Ok(key) => {
                *served = Some(Arc::new(key));
                None
            }
            Err(reason) => Some(reason),
        };
        if *self.fault.borrow() == fault {
            return false;
        }
        match &fault {
            Some(reason) => tracing::warn!("{reason}"),
            None if had => tracing::info!("`{}` is served again", self.files.certificate),
            None => {}
        }
        *self.fault.borrow_mut() = fault;
        true
    }
}

/// Certificate and key of two files, kept for the next start.
fn read(files: &RouteTls, kept: &Kept) -> Result<CertifiedKey, String> {
    let pair = Pair::read(files)?;
    let key = pair.certified(files)?;
    kept.save(files, &pair);
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_itself_comes_before_the_longest_ending_and_the_rest() {
        let hosts = ["*.a.test", "*.test", "a.test", "b.a.test"];
        let hosts: Vec<(String, Arc<Served>)> =
            hosts.iter().map(|host| ((*host).to_owned(), Arc::default())).collect();
        let by_name = ByName { hosts, rest: Arc::default() };
        for (name, host) in [
            ("a.test", "a.test"),
            ("A.Test.", "a.test"),
            ("b.a.test", "b.a.test"),
            ("c.a.test", "*.a.test"),
            ("d.c.a.test", "*.a.test"),
            ("b.test", "*.test"),
            ("test", ""),
            (".test", ""),
            ("", ""),
            (".", ""),
            ("*.test", "*.test"),
            ("a.example", ""),
        ] {
            let served: *const Served = by_name.served(name);
            let of = by_name.hosts.iter().find(|(_, known)| Arc::as_ptr(known) == served);
            assert_eq!(of.map_or("", |(host, _)| host), host, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_is_given_the_certificate_of_another(name in "[a-cA-C.*é]{0,12}") {
            let hosts = ["*.a.b", "*.b", "a.b", "b.a.b"];
            let hosts: Vec<(String, Arc<Served>)> =
                hosts.iter().map(|host| ((*host).to_owned(), Arc::default())).collect();
            let by_name = ByName { hosts, rest: Arc::default() };
            let served: *const Served = by_name.served(&name);
            let of = by_name.hosts.iter().find(|(_, known)| Arc::as_ptr(known) == served);
            let lower = name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase();
            let fits = |host: &str| match host.strip_prefix('*') {
                Some(suffix) => lower.len() > suffix.len() && lower.ends_with(suffix),
                None => lower == host,
            };
            match of {
                Some((host, _)) => proptest::prop_assert!(fits(host), "{name} {host}"),
                None => proptest::prop_assert!(!by_name.hosts.iter().any(|(host, _)| fits(host)), "{name}"),
            }
        }
    }
}
