//! A witness behind a URL.

use std::{io, sync::Arc};

use hornero_api::TRUSTED;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider};

use super::limits::{PATIENCE, within_limits};

pub(super) fn put(url: &str, head: &str) -> io::Result<()> {
    let answer = agent(url)?.put(url).content_type("text/plain").send(head);
    accepted(answer).map(|_| ())
}

pub(super) fn get(url: &str) -> io::Result<String> {
    let answer = accepted(agent(url)?.get(url).call())?;
    within_limits(answer.into_body().into_reader())
}

fn accepted(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> io::Result<ureq::http::Response<ureq::Body>> {
    let answer = answer.map_err(io::Error::other)?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    Err(io::Error::other(format!("it answered {}", answer.status())))
}

/// What asks at a URL, trusting as the host does; it follows nobody elsewhere.
pub fn agent(url: &str) -> io::Result<ureq::Agent> {
    // A witness that was moved is to be named where it is now.
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(PATIENCE))
        .user_agent(format!("hornero/{}", hornero_model::program_version()));
    let config = match url.starts_with("https:") {
        true => config.tls_config(trusting_as_the_host()?),
        false => config,
    };
    Ok(config.build().new_agent())
}

fn trusting_as_the_host() -> io::Result<TlsConfig> {
    let bundle = TRUSTED.iter().find_map(|file| std::fs::read(file).ok());
    let bundle = bundle.ok_or_else(|| {
        io::Error::other("this host has no trusted certificates (package `ca-certificates`)")
    })?;
    let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(&bundle)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate.to_owned()),
            _ => None,
        })
        .collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(certificates)))
        .unversioned_rustls_crypto_provider(provider)
        .build())
}
