//! A certificate and its key: as files, and as what TLS serves.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use hornero_model::RouteTls;
use tokio_rustls::rustls::{
    Error,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{
    expiry::not_after,
    fault::{
        CertificateFault,
        TlsFile::{self, Certificate, Key},
    },
    file::{CertificateStamp, contents, stamp},
};

/// What tells one state of both files from another; none for a file that is not there.
pub(super) type Stamps = [Option<CertificateStamp>; 2];

/// The text of both files.
pub(super) struct Pair {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl Pair {
    pub(super) fn read(files: &RouteTls) -> Result<Self, CertificateFault> {
        let contents = |file: TlsFile| {
            contents(Path::new(file.of(files))).map_err(|error| fault(files, file, &error))
        };
        Ok(Self { certificate: contents(Certificate)?, key: contents(Key)? })
    }

    /// Certificate and key, where they belong together; `files` is what faults name.
    pub(super) fn certified(&self, files: &RouteTls) -> Result<CertifiedKey, CertificateFault> {
        let fault = |file, reason: &dyn std::fmt::Display| fault(files, file, reason);
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| fault(Certificate, &error))?;
        if chain.is_empty() {
            return Err(fault(Certificate, &"no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| fault(Key, &error))?;
        let provider: CryptoProvider = ring::default_provider();
        CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                fault(Key, &format!("it is not the key of `{}`", files.certificate))
            }
            Error::InvalidCertificate(_) => fault(Certificate, &error),
            other => fault(Key, &other),
        })
    }
}

fn fault(files: &RouteTls, file: TlsFile, reason: &dyn std::fmt::Display) -> CertificateFault {
    CertificateFault { file, reason: format!("can't use `{}` for TLS: {reason}", file.of(files)) }
}

/// Whether the time of a certificate is over.
pub(super) fn is_expired(key: &CertifiedKey) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let end = key.cert.first().and_then(|certificate| not_after(certificate));
    end.is_none_or(|end| end < i64::try_from(now).unwrap_or(i64::MAX))
}

/// What would be served with these files.
///
/// # Errors
/// Which of them can't be used, and why.
pub fn certified(files: &RouteTls) -> Result<CertifiedKey, CertificateFault> {
    Pair::read(files)?.certified(files)
}

pub(super) fn stamps(files: &RouteTls) -> Stamps {
    [&files.certificate, &files.key].map(|path| stamp(Path::new(path)))
}
