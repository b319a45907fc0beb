//! The TLS of the API: its certificate, as its files have it, and whose certificates of clients count.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hornero_edge::{
    certificate_file::{CertificateStamp, contents, stamp},
    certified,
};
use hornero_model::{ApiListener, RouteTls};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
};

/// Between two looks whether a file has changed.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Taken {
    config: Arc<ServerConfig>,
    stamps: Vec<Option<CertificateStamp>>,
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
                // What could not be used is tried again though its files look the same.
                match config(&self.files, self.client_ca.as_deref()) {
                    Ok(config) => (taken.config, taken.stamps) = (config, stamps),
                    Err(error) => tracing::warn!("the API keeps the certificate it had: {error}"),
                }
            }
        }
        Arc::clone(&taken.config)
    }
}

fn stamps(files: &RouteTls, client_ca: Option<&String>) -> Vec<Option<CertificateStamp>> {
    let paths = [Some(&files.certificate), Some(&files.key), client_ca];
    paths.into_iter().flatten().map(|path| stamp(Path::new(path))).collect()
}

fn config(files: &RouteTls, client_ca: Option<&str>) -> io::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certified = certified(files).map_err(|fault| io::Error::other(fault.reason))?;
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
    let mut made = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    made.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(made))
}

fn certificates(path: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let contents = contents(Path::new(path)).map_err(|error| failed(path, &error))?;
    let found = CertificateDer::pem_slice_iter(&contents).collect::<Result<Vec<_>, _>>();
    match found.map_err(|error| failed(path, &error))? {
        found if found.is_empty() => Err(failed(path, &"no certificate in it")),
        found => Ok(found),
    }
}

fn failed(path: &str, reason: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("`{path}` can't be used: {reason}"))
}
