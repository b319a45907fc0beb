//! Reads files of an archive over HTTP or from a directory: bounded, resumed and repeated where that helps.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use crate::{
    files,
    progress::{ArchiveEvent, ArchiveProgress},
};

/// A mirror that does not take a connection by then is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A mirror that does not begin to answer by then hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// One answer's whole body; a slow one is taken up again where it broke off.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts in a row that brought no byte.
const ATTEMPTS: u32 = 4;
/// Attempts that brought some: 4 GiB at the slowest acceptable speed would need more, and does not matter.
const RESUMES: u32 = 200;
/// Doubled after each attempt that brought nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The archive says that there is no such file.
    #[error("`{0}` does not exist there")]
    Missing(String),
    /// It is larger than it may be.
    #[error("`{address}` is larger than {limit} bytes")]
    TooLarge {
        /// The address.
        address: String,
        /// The limit.
        limit: u64,
    },
    /// Every attempt failed.
    #[error("`{address}` could not be fetched: {reason}")]
    Failed {
        /// The address.
        address: String,
        /// The last attempt's reason.
        reason: String,
    },
    /// What arrived could not be written.
    #[error("what arrived could not be written")]
    Write(#[source] io::Error),
}

/// How long and how often a client tries; tests shorten it.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until an answer begins.
    pub answer: Duration,
    /// Until an answer's body is complete.
    pub body: Duration,
    /// Attempts without a byte.
    pub attempts: u32,
    /// First pause between attempts.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: CONNECT_TIMEOUT,
            answer: ANSWER_TIMEOUT,
            body: BODY_TIMEOUT,
            attempts: ATTEMPTS,
            pause: FIRST_PAUSE,
        }
    }
}

/// Fetches from archives; one for a whole bake, so that connections are kept.
pub struct Fetcher {
    patience: Patience,
    plain: ureq::Agent,
    secure: OnceLock<Result<ureq::Agent, String>>,
}

impl Fetcher {
    /// A client that honours `http_proxy` and its like from the environment.
    pub fn new(patience: Patience) -> Self {
        Self { patience, plain: agent(patience, None), secure: OnceLock::new() }
    }

    /// Reads a whole small file into memory.
    pub fn read(
        &self,
        address: &str,
        limit: u64,
        progress: &dyn ArchiveProgress,
    ) -> Result<Vec<u8>, FetchError> {
        let mut bytes = io::Cursor::new(Vec::new());
        self.fetch_into(address, limit, &mut bytes, 0, progress, &mut |_| ())?;
        Ok(bytes.into_inner())
    }

    /// Appends to `target` what comes after its first `have` bytes, until the file is complete; `arrived` is told
    /// of every piece. `target` may be truncated when the server does not resume.
    pub fn fetch_into<T: Write + Seek + Truncate>(
        &self,
        address: &str,
        limit: u64,
        target: &mut T,
        mut have: u64,
        progress: &dyn ArchiveProgress,
        arrived: &mut dyn FnMut(u64),
    ) -> Result<(), FetchError> {
        if let Some(path) = address.strip_prefix("file://") {
            return read_local(address, PathBuf::from(path), limit, target, have, arrived);
        }
        let mut empty_attempts = 0;
        let mut pause = self.patience.pause;
        for _ in 0..RESUMES {
            let before = have;
            let failure = match self.attempt(address, limit, target, &mut have, arrived) {
                Ok(()) => return Ok(()),
                Err(FetchFailure::Final(error)) => return Err(error),
                Err(FetchFailure::Again(reason)) => reason,
            };
            if have > before {
                empty_attempts = 0;
                pause = self.patience.pause;
            } else {
                empty_attempts += 1;
            }
            if empty_attempts >= self.patience.attempts {
                return Err(FetchError::Failed { address: address.to_owned(), reason: failure });
            }
            progress.event(ArchiveEvent::Retrying { what: address.to_owned(), reason: failure });
            thread::sleep(pause);
            pause *= 2;
        }
        let reason = format!("it broke off {RESUMES} times");
        Err(FetchError::Failed { address: address.to_owned(), reason })
    }

    fn agent(&self, address: &str) -> Result<&ureq::Agent, FetchError> {
        if !address.starts_with("https:") {
            return Ok(&self.plain);
        }
        let made = self.secure.get_or_init(|| secure_agent(self.patience));
        made.as_ref().map_err(|reason| FetchError::Failed {
            address: address.to_owned(),
            reason: reason.clone(),
        })
    }

    fn attempt<T: Write + Seek + Truncate>(
        &self,
        address: &str,
        limit: u64,
        target: &mut T,
        have: &mut u64,
        arrived: &mut dyn FnMut(u64),
    ) -> Result<(), FetchFailure> {
        let again = |error: ureq::Error| FetchFailure::Again(error.to_string());
        let mut request = self.agent(address).map_err(FetchFailure::Final)?.get(address);
        if *have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let response = request.call().map_err(again)?;
        let status = response.status().as_u16();
        match status {
            200 if *have > 0 => {
                // The server does not resume: begin anew.
                target
                    .truncate_to(0)
                    .map_err(|error| FetchFailure::Final(FetchError::Write(error)))?;
                *have = 0;
            }
            200 | 206 => {}
            404 | 410 => return Err(FetchFailure::Final(FetchError::Missing(address.to_owned()))),
            416 => {
                target
                    .truncate_to(0)
                    .map_err(|error| FetchFailure::Final(FetchError::Write(error)))?;
                *have = 0;
                return Err(FetchFailure::Again("it cannot be resumed".to_owned()));
            }
            408 | 429 | 500..=599 => {
                return Err(FetchFailure::Again(format!("the server answered {status}")));
            }
            _ => {
                let reason = format!("the server answered {status}");
                let address = address.to_owned();
                return Err(FetchFailure::Final(FetchError::Failed { address, reason }));
            }
        }
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0_u8; 64 << 10];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) => return Err(FetchFailure::Again(error.to_string())),
            };
            *have += count as u64;
            if *have > limit {
                let address = address.to_owned();
                return Err(FetchFailure::Final(FetchError::TooLarge { address, limit }));
            }
            target
                .write_all(&buffer[..count])
                .map_err(|error| FetchFailure::Final(FetchError::Write(error)))?;
            arrived(count as u64);
        }
    }
}

enum FetchFailure {
    Final(FetchError),
    Again(String),
}

/// What a fetch can begin anew in.
pub trait Truncate {
    /// Cuts to `length` and goes on writing there.
    fn truncate_to(&mut self, length: u64) -> io::Result<()>;
}

impl Truncate for File {
    fn truncate_to(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(SeekFrom::Start(length)).map(|_| ())
    }
}

impl Truncate for io::Cursor<Vec<u8>> {
    fn truncate_to(&mut self, length: u64) -> io::Result<()> {
        self.get_mut().truncate(usize::try_from(length).unwrap_or(usize::MAX));
        self.set_position(length);
        Ok(())
    }
}

fn read_local<T: Write + Seek>(
    address: &str,
    path: PathBuf,
    limit: u64,
    target: &mut T,
    have: u64,
    arrived: &mut dyn FnMut(u64),
) -> Result<(), FetchError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FetchError::Missing(address.to_owned()),
        _ => FetchError::Failed { address: address.to_owned(), reason: error.to_string() },
    };
    let mut file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > limit {
        return Err(FetchError::TooLarge { address: address.to_owned(), limit });
    }
    file.seek(SeekFrom::Start(have)).map_err(failed)?;
    let mut buffer = vec![0_u8; 256 << 10];
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Ok(());
        }
        target.write_all(&buffer[..count]).map_err(FetchError::Write)?;
        arrived(count as u64);
    }
}

fn agent(patience: Patience, tls: Option<ureq::tls::TlsConfig>) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.answer))
        .timeout_recv_body(Some(patience.body))
        .max_redirects(5)
        .user_agent(format!("hornero/{}", hornero_model::program_version()));
    if let Some(tls) = tls {
        config = config.tls_config(tls);
    }
    config.build().new_agent()
}

/// Where distributions keep the certificates that the host trusts.
const CERTIFICATE_FILES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// A bundle has 150 certificates in 250 kB.
const CERTIFICATE_BYTES: u64 = 16 << 20;

/// A client that trusts what the host trusts.
fn secure_agent(patience: Patience) -> Result<ureq::Agent, String> {
    let bundle = CERTIFICATE_FILES
        .iter()
        .find_map(|file| files::read_file(file.as_ref(), CERTIFICATE_BYTES).ok())
        .ok_or("this host has no trusted certificates (package `ca-certificates`)")?;
    let certificates: Vec<ureq::tls::Certificate<'static>> = ureq::tls::parse_pem(&bundle)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate.to_owned()),
            _ => None,
        })
        .collect();
    let tls = ureq::tls::TlsConfig::builder()
        .provider(ureq::tls::TlsProvider::Rustls)
        .root_certs(ureq::tls::RootCerts::Specific(Arc::new(certificates)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Ok(agent(patience, Some(tls)))
}
