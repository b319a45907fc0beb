//! A control process elsewhere: its URL, whom it is trusted by, and how a connection to it is made.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::wire::Wire;

/// Where distributions keep the certificates that the host trusts.
pub const TRUSTED: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The port where a URL names none.
const DEFAULT_PORT: u16 = 8443;

/// Why an API elsewhere can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteApiError {
    /// The URL is none of an API.
    #[error("`{url}` is no URL of an API: {reason}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file can't be used.
    #[error("`{path}` can't be used: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A token has bytes that no header takes.
    #[error("the token has bytes that no token has")]
    Token,
}

/// A control process elsewhere.
pub struct RemoteApi {
    url: String,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    token: Option<String>,
}

/// Without its token.
impl fmt::Debug for RemoteApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteApi").field("url", &self.url).finish_non_exhaustive()
    }
}

impl RemoteApi {
    /// An API at `url`, whose certificate one of `ca` signed (one that the host trusts where absent); `identity` holds a
    /// certificate and its key to show there.
    ///
    /// # Errors
    /// Where the URL, a file or the token can't be used. Cleartext is only spoken with this host.
    pub fn new(
        url: &str,
        token: Option<String>,
        ca: Option<&Path>,
        identity: Option<&Path>,
    ) -> Result<Self, RemoteApiError> {
        let bad = |reason| RemoteApiError::Url { url: url.to_owned(), reason };
        let uri: http::Uri = url.parse().map_err(|_| bad("it can't be read"))?;
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it has a user or a password; tokens are in files"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("it ends behind its port"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => Some(Arc::new(config(ca, identity)?)),
            Some("http") if is_this_host(&host) => None,
            Some("http") => return Err(bad("without TLS only this host is spoken to")),
            Some(_) | None => return Err(bad("it begins with `https://`")),
        };
        let is_plain = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        if !token.as_ref().is_none_or(is_plain) {
            return Err(RemoteApiError::Token);
        }
        let port = authority.port_u16().unwrap_or(DEFAULT_PORT);
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { url, host, port, tls, token })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What its host is called in requests.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The header that says who asks.
    pub(crate) fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }

    /// A connection.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection came about in time");
        tokio::time::timeout(CONNECT_TIMEOUT, self.connected()).await.map_err(late)?
    }

    async fn connected(&self) -> io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
        Ok(Box::new(stream))
    }
}

fn is_this_host(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn config(ca: Option<&Path>, identity: Option<&Path>) -> Result<ClientConfig, RemoteApiError> {
    let trusted = TRUSTED.iter().map(Path::new).find(|path| path.exists());
    let path = ca.or(trusted).ok_or_else(|| RemoteApiError::File {
        path: TRUSTED[0].to_owned(),
        reason: "this host has no trusted certificates (package `ca-certificates`)".to_owned(),
    })?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(failed(path, "no certificate in it"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(path, error))?
        .with_root_certificates(roots);
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let key = PrivateKeyDer::from_pem_file(identity).map_err(|error| failed(identity, error))?;
    let chain = certificates(identity)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| failed(identity, error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RemoteApiError> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(path, error))?;
    found.collect::<Result<_, _>>().map_err(|error| failed(path, error))
}

fn failed(path: &Path, reason: impl fmt::Display) -> RemoteApiError {
    RemoteApiError::File { path: path.display().to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_in_cleartext_to_this_host_alone() {
        let made = |url: &str| RemoteApi::new(url, Some("t".to_owned()), None, None);
        for good in ["http://127.0.0.1:8443", "http://[::1]:1/", "http://localhost:1"] {
            assert!(made(good).is_ok(), "{good}");
        }
        assert_eq!(made("http://[::1]:7").unwrap().authority(), "[::1]:7");
        for bad in [
            "http://hornero.example.com:8443",
            "http://127.0.0.1.example.com",
            "http://u:p@127.0.0.1",
            "ftp://127.0.0.1",
            "127.0.0.1:8443",
            "http://127.0.0.1/v1",
            "",
        ] {
            assert!(made(bad).is_err(), "{bad}");
        }
        let error = RemoteApi::new("http://[::1]:1", Some("a\nb".to_owned()), None, None);
        assert!(matches!(error, Err(RemoteApiError::Token)));
        let shown =
            format!("{:?}", RemoteApi::new("http://[::1]:1", Some("s3cret".into()), None, None));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
