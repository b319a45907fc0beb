//! The TLS of the API: its certificate, as its files have it, and whose certificates of clients count.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hornero_model::{ApiListener, RouteTls};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

/// A chain of certificates is a few kilobytes.
const FILE_BYTES: u64 = 1 << 20;
/// Between two looks whether a file has changed.
const LOOK: Duration = Duration::from_secs(5);

/// What tells one state of a file from another.
type Stamp = Option<[i64; 4]>;

#[derive(Debug)]
struct Taken {
    config: Arc<ServerConfig>,
    stamps: Vec<Stamp>,
    looked: Instant,
}

/// The TLS of a listener, which follows its files.
#[derive(Debug)]
pub struct TlsKeeper {
    files: RouteTls,
    client_ca: Option<String>,
    taken: Mutex<Taken>,
}

impl TlsKeeper {
    /// That of a listener; none where it speaks cleartext.
    pub fn of(listener: &ApiListener) -> io::Result<Option<Self>> {
        let Some(files) = listener.tls.clone() else { return Ok(None) };
        let client_ca = listener.client_ca.clone();
        let stamps = stamps(&files, client_ca.as_ref());
        let config = config(&files, client_ca.as_deref())?;
        let taken = Mutex::new(Taken { config, stamps, looked: Instant::now() });
        Ok(Some(Self { files, client_ca, taken }))
    }

    /// What holds now: files that were renewed are taken, and those that can't be used are not.
    pub fn current(&self) -> Arc<ServerConfig> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.looked.elapsed() >= LOOK {
            taken.looked = Instant::now();
            let stamps = stamps(&self.files, self.client_ca.as_ref());
            if stamps != taken.stamps {
                taken.stamps = stamps;
                match config(&self.files, self.client_ca.as_deref()) {
                    Ok(config) => taken.config = config,
                    Err(error) => tracing::warn!("the API keeps the certificate it had: {error}"),
                }
            }
        }
        Arc::clone(&taken.config)
    }
}

fn stamps(files: &RouteTls, client_ca: Option<&String>) -> Vec<Stamp> {
    let paths = [Some(&files.certificate), Some(&files.key), client_ca];
    let stamp = |path: &String| {
        let found = fs::metadata(path).ok()?;
        let inode = found.ino().cast_signed();
        Some([inode, found.size().cast_signed(), found.mtime(), found.mtime_nsec()])
    };
    paths.into_iter().flatten().map(stamp).collect()
}

fn config(files: &RouteTls, client_ca: Option<&str>) -> io::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&contents(&files.key)?)
        .map_err(|error| failed(&files.key, &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match client_ca {
        Some(path) => {
            let verifier: Arc<dyn ClientCertVerifier> = {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| failed(path, &error))?;
                }
                // Tokens and browsers come without.
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| failed(path, &error))?
            };
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let made = builder.with_single_cert(chain, key);
    let mut made = made.map_err(|error| failed(&files.certificate, &error))?;
    made.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(made))
}

fn certificates(path: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let contents = contents(path)?;
    let found = CertificateDer::pem_slice_iter(&contents).collect::<Result<Vec<_>, _>>();
    match found.map_err(|error| failed(path, &error))? {
        found if found.is_empty() => Err(failed(path, &"no certificate in it")),
        found => Ok(found),
    }
}

fn failed(path: &str, reason: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("`{path}` can't be used: {reason}"))
}

/// A whole file, unless it is none or too large to be a certificate.
fn contents(path: &str) -> io::Result<Vec<u8>> {
    // A pipe in its place would be waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::File::options().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|error| failed(path, &error))?;
    if !file.metadata()?.is_file() {
        return Err(failed(path, &"it is no file"));
    }
    let mut contents = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut contents)?;
    match contents.len() as u64 > FILE_BYTES {
        true => Err(failed(path, &"it has more than 1 MiB")),
        false => Ok(contents),
    }
}
