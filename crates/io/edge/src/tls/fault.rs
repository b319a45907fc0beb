//! Why the files of a certificate can't be used.

use hornero_model::RouteTls;

/// Which of a route's two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// That with the chain of certificates.
    Certificate,
    /// That with the private key.
    Key,
}

impl TlsFile {
    /// Its path.
    pub(crate) fn of(self, files: &RouteTls) -> &str {
        match self {
            Self::Certificate => &files.certificate,
            Self::Key => &files.key,
        }
    }
}

/// Why a route's files can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CertificateFault {
    /// The file at fault; the key where the two do not belong together.
    pub file: TlsFile,
    /// What is wrong, with the file's name.
    pub reason: String,
}

impl From<CertificateFault> for String {
    fn from(fault: CertificateFault) -> Self {
        fault.reason
    }
}
