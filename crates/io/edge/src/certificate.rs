//! What a route's certificate says of itself before it is served: how long it holds, and for which hosts.

use hornero_model::{RouteTls, Timestamp};
use tokio_rustls::rustls::{
    CertificateError, Error,
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName},
    server::ParsedCertificate,
};

use crate::tls::{self, CertificateFault};

/// What a certificate that can be served says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// From when to when it holds; none where that is not to be read.
    pub holds: Option<(Timestamp, Timestamp)>,
    /// Where it is not for the host that was asked about: the names that it is for.
    pub other_names: Option<Vec<String>>,
}

/// Reads a route's files as the edge would, and what the first certificate says of itself and of `host`.
///
/// # Errors
/// Why the edge could not serve with them.
pub fn look_at_certificate(
    files: &RouteTls,
    host: Option<&str>,
) -> Result<CertificateFacts, CertificateFault> {
    let certified = tls::certified(files)?;
    let Some(first) = certified.cert.first() else {
        return Ok(CertificateFacts { holds: None, other_names: None });
    };
    let other_names = host.and_then(|host| names_without(first, host));
    // What lies before 1970 counts as 1970.
    let time = |seconds: i64| Timestamp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
    let holds = tls::validity(first).map(|(from, until)| (time(from), time(until)));
    Ok(CertificateFacts { holds, other_names })
}

/// The names of a certificate (RFC 6125) that is not for `host`; none where it is, or that can't be told.
fn names_without(certificate: &CertificateDer<'_>, host: &str) -> Option<Vec<String>> {
    // `*.` stands for every name below: any of them will do.
    let host = host.replacen('*', "any", 1);
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let name = ServerName::try_from(host.as_str()).ok()?;
    match verify_server_name(&parsed, &name) {
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        })) => Some(presented.iter().map(|name| plain(name)).collect()),
        Err(Error::InvalidCertificate(CertificateError::NotValidForName)) => Some(Vec::new()),
        Ok(()) | Err(_) => None,
    }
}

/// A name as it is presented: `DnsName("a.example")`.
fn plain(presented: &str) -> String {
    presented.split('"').nth(1).unwrap_or(presented).to_owned()
}
