//! Whom a client trusts: the certificates of the host, and no connection without encryption that was not asked for.

use std::{fs::File, io::Read, sync::Arc};

use ureq::unversioned::transport::DefaultConnector;

use super::{access::Patience, redirect::Destinations};
use crate::{OciError, Result};

/// Where distributions keep the certificates that the host trusts.
const CERTIFICATE_FILES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// A bundle has 150 certificates in 250 kB.
const CERTIFICATE_BYTES_MAX: u64 = 16 << 20;

/// An agent that reaches nobody without encryption but where that was asked for.
pub(super) fn agent(
    patience: Patience,
    secure: bool,
    may_be_plain: bool,
    destinations: Destinations,
) -> Result<ureq::Agent> {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .https_only(!may_be_plain)
        .timeout_connect(Some(patience.connect))
        .timeout_send_request(Some(patience.send))
        .timeout_send_body(Some(patience.send))
        .timeout_recv_response(Some(patience.answer))
        .timeout_recv_body(Some(patience.body))
        // Each of them has to be looked at.
        .max_redirects(0)
        .user_agent(format!("hornero/{}", hornero_model::program_version()));
    // A registry on this machine may still send readers elsewhere, with encryption.
    match certificates() {
        Ok(tls) => config = config.tls_config(tls),
        Err(reason) if secure => return Err(OciError::Certificates(reason)),
        Err(_) => {}
    }
    Ok(ureq::Agent::with_parts(config.build(), DefaultConnector::default(), destinations))
}

fn certificates() -> Result<ureq::tls::TlsConfig, String> {
    let mut bundle = Vec::new();
    let file = CERTIFICATE_FILES
        .iter()
        .find_map(|path| File::open(path).ok())
        .ok_or("this host has no file of trusted certificates")?;
    file.take(CERTIFICATE_BYTES_MAX).read_to_end(&mut bundle).map_err(|error| error.to_string())?;
    let certificates: Vec<ureq::tls::Certificate<'static>> = ureq::tls::parse_pem(&bundle)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate.to_owned()),
            _ => None,
        })
        .collect();
    Ok(ureq::tls::TlsConfig::builder()
        .provider(ureq::tls::TlsProvider::Rustls)
        .root_certs(ureq::tls::RootCerts::Specific(Arc::new(certificates)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}
