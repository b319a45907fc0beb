//! TLS towards clients: certificate and key of a listener, read when its table is put in force.

use std::{net::SocketAddr, sync::Arc};

use hornero_model::RouteTls;
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::error::EdgeError;

/// Reads both files and makes a server that offers HTTP/2 and HTTP/1.1.
pub(crate) fn server_config(
    address: SocketAddr,
    tls: &RouteTls,
) -> Result<Arc<ServerConfig>, EdgeError> {
    let fault =
        |path: &str, reason: String| EdgeError::Tls { address, path: path.to_owned(), reason };
    let certificates = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(&tls.certificate, error.to_string()))?;
    if certificates.is_empty() {
        return Err(fault(&tls.certificate, "no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| fault(&tls.key, error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| fault(&tls.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
