//! TLS towards clients: the certificates of listeners, read when a table names them and again when they change.
//!
//! A listener whose files can't be used is down alone: what is asked of it ends in the handshake. One that had a good
//! certificate before goes on with that.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    rc::Rc,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use hornero_model::RouteTls;
use tokio_rustls::rustls::{
    Error, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::control::Control;

/// How often the files are looked at: whoever renews a certificate sees it served a moment later.
const LOOK: Duration = Duration::from_secs(1);
/// A chain of certificates is a few kilobytes.
const FILE_BYTES: u64 = 1 << 20;

/// The certificates of all listeners, each read once however many have it.
#[derive(Debug, Default)]
pub(crate) struct Certificates(RefCell<Vec<Rc<Certificate>>>);

/// Certificate and key of listeners, as they are served and as their files are.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: RouteTls,
    config: Arc<ServerConfig>,
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

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.last_good()
    }
}

/// What tells one state of both files from another; none for a file that is not there.
type Stamps = [Option<[i64; 6]>; 2];

impl Certificates {
    /// What serves a listener with these files.
    pub(crate) fn of(&self, files: &RouteTls) -> Arc<ServerConfig> {
        if let Some(known) = self.find(files) {
            return known.config.clone();
        }
        let fresh = Rc::new(Certificate::new(files));
        let seen = stamps(files);
        fresh.take(seen, read(files));
        self.0.borrow_mut().push(fresh.clone());
        fresh.config.clone()
    }

    /// Why the files of a listener can't be used, if they can't, and whether it serves all the same.
    pub(crate) fn fault(&self, files: &RouteTls) -> Option<(String, bool)> {
        let known = self.find(files)?;
        let reason = known.fault.borrow().clone()?;
        Some((reason, known.served.last_good().is_some()))
    }

    /// Forgets those that no listener has any more.
    pub(crate) fn keep(&self, used: impl Fn(&RouteTls) -> bool) {
        self.0.borrow_mut().retain(|known| used(&known.files));
    }

    fn find(&self, files: &RouteTls) -> Option<Rc<Certificate>> {
        self.0.borrow().iter().find(|known| known.files == *files).cloned()
    }
}

impl Certificate {
    fn new(files: &RouteTls) -> Self {
        let served = Arc::new(Served::default());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers for both versions")
            .with_no_client_auth()
            .with_cert_resolver(served.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            files: files.clone(),
            config: Arc::new(config),
            served,
            seen: RefCell::default(),
            fault: RefCell::default(),
        }
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
            Err(reason) => Some(match &*served {
                Some(_) => format!("{reason}; the certificate from before is served"),
                None => format!("{reason}; nobody can connect"),
            }),
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

/// Looks at the files of every certificate, for ever.
pub(crate) async fn watch(control: Rc<Control>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let certificates: Vec<Rc<Certificate>> = control.certificates.0.borrow().clone();
        for certificate in certificates {
            let files = certificate.files.clone();
            // What could not be used is tried again though its files look the same: there may have been no memory.
            let known = certificate.fault.borrow().is_none().then(|| *certificate.seen.borrow());
            let looked = tokio::task::spawn_blocking(move || {
                // Before they are read: whatever changes meanwhile is seen by the next look.
                let seen = stamps(&files);
                (known != Some(seen)).then(|| (seen, read(&files)))
            });
            if let Ok(Some((seen, read))) = looked.await
                && certificate.take(seen, read)
            {
                control.bump();
            }
        }
    }
}

fn stamps(files: &RouteTls) -> Stamps {
    [&files.certificate, &files.key].map(|path| {
        let found = fs::metadata(path).ok()?;
        let (device, inode) = (found.dev().cast_signed(), found.ino().cast_signed());
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        Some([device, inode, times[0], times[1], times[2], times[3]])
    })
}

/// Certificate and key of two files, where they belong together.
fn read(files: &RouteTls) -> Result<CertifiedKey, String> {
    let fault = |path: &str, reason: &dyn std::fmt::Display| {
        format!("can't use `{path}` for TLS: {reason}")
    };
    let contents = |path: &str| contents(Path::new(path)).map_err(|error| fault(path, &error));
    let text = contents(&files.certificate)?;
    let chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fault(&files.certificate, &error))?;
    if chain.is_empty() {
        return Err(fault(&files.certificate, &"no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_slice(&contents(&files.key)?)
        .map_err(|error| fault(&files.key, &error))?;
    let provider: CryptoProvider = ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            fault(&files.key, &format!("it is not the key of `{}`", files.certificate))
        }
        Error::InvalidCertificate(_) => fault(&files.certificate, &error),
        other => fault(&files.key, &other),
    })
}

/// A whole file, unless it is none or too large to be a certificate.
fn contents(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe in its place would be waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut contents = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {} MiB", FILE_BYTES >> 20)));
    }
    Ok(contents)
}
