//! HTTP to one registry: who asks, how long to wait, when to try again, and never more bytes than expected.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use serde::Deserialize;
use ureq::{
    http::{Method, Request, Uri, header},
    unversioned::resolver::DefaultResolver,
};

use super::{
    access::{Access, Patience},
    answer::{Answer, AttemptFailure, body, explanation},
    challenge::{escape, parameters, without_query},
    credentials::{self, Credentials},
    redirect::{self, Destinations, REDIRECTS_MAX},
    trust::agent,
};
use crate::{OciError, Reference, Result, TransferEvent, TransferProgress, reference};

/// A token answer has some KiB.
const TOKEN_BYTES_MAX: u64 = 1 << 20;

/// A client of one repository.
pub(super) struct Client {
    agent: ureq::Agent,
    /// Reaches nothing on this host or its link.
    away: ureq::Agent,
    destinations: Destinations,
    patience: Patience,
    credentials: Option<Credentials>,
    pub(super) registry: String,
    pub(super) repository: String,
    base: String,
    plain_http: bool,
    /// Whether the registry is on this machine.
    is_loopback: bool,
    /// `Authorization` values by what they allow.
    granted: Mutex<BTreeMap<String, String>>,
}

impl Client {
    pub(super) fn new(reference: &Reference, access: &Access) -> Result<Self> {
        let may_be_plain = access.plain_http || reference.is_loopback();
        let secure = reference.is_secure(access.plain_http);
        if !secure && !may_be_plain {
            return Err(OciError::PlainHttp(reference.registry().to_owned()));
        }
        let host = match reference.registry() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let credentials = match &access.credentials {
            Some(Credentials { registry: None, .. }) => return Err(OciError::Unbound),
            Some(Credentials { registry: Some(registry), .. })
                if registry.eq_ignore_ascii_case(reference.registry()) =>
            {
                access.credentials.clone()
            }
            _ => {
                let files = &access.credential_files;
                credentials::from_files(files, reference.registry(), reference.repository())
            }
        };
        let destinations = Destinations::new(Arc::new(DefaultResolver::default()));
        let reaching = |destinations| agent(access.patience, secure, may_be_plain, destinations);
        Ok(Self {
            agent: reaching(destinations.clone())?,
            away: reaching(destinations.away())?,
            destinations,
            patience: access.patience,
            credentials,
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            base: format!("{}://{host}", if secure { "https" } else { "http" }),
            plain_http: access.plain_http,
            is_loopback: reference.is_loopback(),
            granted: Mutex::default(),
        })
    }

    /// The address of something of the repository.
    pub(super) fn address(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.base, self.repository)
    }

    /// An address that the registry answered with, which may be only a path.
    pub(super) fn absolute(&self, location: &str) -> Result<String, AttemptFailure> {
        let address = match location.starts_with('/') {
            true => format!("{}{location}", self.base),
            false => location.to_owned(),
        };
        self.check_plain(&address)?;
        Ok(address)
    }

    /// Repeats `attempt` while that may help; one that made progress begins to count anew.
    pub(super) fn insist<T>(
        &self,
        address: &str,
        progress: &dyn TransferProgress,
        mut attempt: impl FnMut(&mut bool) -> Result<T, AttemptFailure>,
    ) -> Result<T> {
        let (mut failures, mut pause) = (0, self.patience.pause);
        loop {
            let mut advanced = false;
            let reason = match attempt(&mut advanced) {
                Ok(done) => return Ok(done),
                Err(AttemptFailure::Final(error)) => return Err(error),
                Err(AttemptFailure::Again(reason)) => reason,
            };
            if advanced {
                (failures, pause) = (0, self.patience.pause);
            }
            failures += 1;
            let address = without_query(address);
            if failures >= self.patience.attempts {
                return Err(OciError::Http { address, reason });
            }
            progress.event(TransferEvent::Retrying { what: address, reason });
            thread::sleep(pause);
            pause *= 2;
        }
    }

    /// Sends one request, with a token or password where the registry asks for it.
    pub(super) fn send(
        &self,
        method: &Method,
        address: &str,
        headers: &[(header::HeaderName, String)],
        body: Option<&[u8]>,
    ) -> Result<Answer, AttemptFailure> {
        let actions =
            if *method == Method::GET || *method == Method::HEAD { "pull" } else { "pull,push" };
        let scope = format!("repository:{}:{actions}", self.repository);
        let known =
            self.granted.lock().unwrap_or_else(PoisonError::into_inner).get(&scope).cloned();
        let answer = self.once(method, address, headers, body, known.as_deref())?;
        if answer.status() != 401 {
            return Ok(answer);
        }
        let challenge = answer
            .headers()
            .get(header::WWW_AUTHENTICATE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let granted = self.grant(&challenge, &scope)?;
        let answer = self.once(method, address, headers, body, Some(&granted))?;
        if answer.status() == 401 {
            return Err(self.denied(answer).into());
        }
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).insert(scope, granted);
        Ok(answer)
    }

    fn once(
        &self,
        method: &Method,
        address: &str,
        headers: &[(header::HeaderName, String)],
        body: Option<&[u8]>,
        authorization: Option<&str>,
    ) -> Result<Answer, AttemptFailure> {
        // An upload's address may lead to a storage elsewhere, which is not the one that knows us.
        let ours = address.strip_prefix(&self.base).is_some_and(|rest| rest.starts_with('/'));
        let authorization = authorization.filter(|_| ours);
        let answer = self.follow(method, address, headers, body, authorization)?;
        match answer.status().as_u16() {
            408 | 429 | 500..=599 => {
                Err(AttemptFailure::Again(format!("the server answered {}", answer.status())))
            }
            _ => Ok(answer),
        }
    }

    /// Sends a request to where it is answered; only the first who is asked learns who asks.
    fn follow(
        &self,
        method: &Method,
        address: &str,
        headers: &[(header::HeaderName, String)],
        body: Option<&[u8]>,
        mut authorization: Option<&str>,
    ) -> Result<Answer, AttemptFailure> {
        let mut at = address.to_owned();
        let mut agent = &self.agent;
        for hop in 0..=REDIRECTS_MAX {
            let mut request = Request::builder().method(method).uri(&at);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(authorization) = authorization.take() {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let bad = |error: ureq::http::Error| {
                AttemptFailure::Final(OciError::refused(without_query(&at), error))
            };
            let answer = match body {
                Some(body) => agent.run(request.body(body).map_err(bad)?),
                None => agent.run(request.body(()).map_err(bad)?),
            };
            let answer = answer.map_err(|error| match error {
                ureq::Error::RequireHttpsOnly(_) => OciError::PlainHttp(without_query(&at)).into(),
                error if redirect::was_near(&error) => leads_here(address, &at),
                error => AttemptFailure::Again(error.to_string()),
            })?;
            match redirect::target(method, &at, &answer) {
                // What others ask for is not for the registry's password.
                None if hop > 0 && answer.status() == 401 => {
                    return Err(self.denied(answer).into());
                }
                None => return Ok(answer),
                Some(next) => {
                    self.check_plain(&next)?;
                    // Only a registry that is on this host itself may name what is there.
                    let is_near = self.destinations.were_near(address);
                    if !is_near.unwrap_or_else(|| redirect::leads_near(address)) {
                        if redirect::leads_near(&next) {
                            return Err(leads_here(address, &next));
                        }
                        agent = &self.away;
                    }
                    at = next;
                }
            }
        }
        let reason =
            format!("it sends whoever asks from one address to another {REDIRECTS_MAX} times");
        Err(OciError::Http { address: without_query(address), reason }.into())
    }

    /// Answers a challenge: the value of the `Authorization` header to send.
    fn grant(&self, challenge: &str, scope: &str) -> Result<String, AttemptFailure> {
        let refused = |reason: &str| {
            AttemptFailure::Final(OciError::Denied {
                registry: self.registry.clone(),
                repository: self.repository.clone(),
                reason: reason.to_owned(),
            })
        };
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            let credentials = self.credentials.as_ref();
            return credentials
                .map(Credentials::basic)
                .ok_or_else(|| refused("it asks for a user and a password"));
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refused("it does not say how to log in"));
        }
        let parameters = parameters(rest);
        let realm = parameters.get("realm").ok_or_else(|| refused("it names no token server"))?;
        let may_know = self.check_plain(realm)?;
        let mut address = format!("{realm}{}", if realm.contains('?') { '&' } else { '?' });
        let wanted = parameters.get("scope").map_or(scope, String::as_str);
        let service = parameters.get("service").map_or("", String::as_str);
        address.push_str(&format!("service={}&scope={}", escape(service), escape(wanted)));
        // Registries have their token servers on other hosts; which one it is, only the registry can say.
        let credentials = self.credentials.as_ref().filter(|_| may_know);
        let credentials = credentials.map(Credentials::basic);
        let answer = self.follow(&Method::GET, &address, &[], None, credentials.as_deref())?;
        match answer.status().as_u16() {
            200 => {}
            408 | 429 | 500..=599 => {
                let status = answer.status();
                return Err(AttemptFailure::Again(format!("the token server answered {status}")));
            }
            _ => return Err(refused("its token server does not know this user and password")),
        }
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let bytes = body(answer, TOKEN_BYTES_MAX)?;
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|_| refused("its token server's answer cannot be read"))?;
        let token = token.token.or(token.access_token);
        Ok(format!("Bearer {}", token.ok_or_else(|| refused("its token server gave no token"))?))
    }

    /// Refuses unencrypted addresses but where they were asked for; says whether a password may go there. Without
    /// encryption only the registry itself may have it, and another server of this machine where the registry is on it.
    fn check_plain(&self, address: &str) -> Result<bool, AttemptFailure> {
        let bad = || OciError::refused(without_query(address), "it is no address of a server");
        let uri: Uri = address.parse().map_err(|_| bad())?;
        let host = uri.host().ok_or_else(bad)?;
        match uri.scheme_str() {
            Some("https") => return Ok(true),
            Some("http") => {}
            _ => return Err(bad().into()),
        }
        let here = self.is_loopback && reference::is_loopback(host);
        if self.plain_http || here {
            let registry: Option<Uri> = self.base.parse().ok();
            let same = registry.as_ref().and_then(Uri::host).is_some_and(|ours| ours == host);
            return Ok(same || here);
        }
        Err(OciError::PlainHttp(host.to_owned()).into())
    }

    /// An answer that nothing can be made of, as an error with what the registry says of it.
    pub(super) fn unexpected(&self, address: &str, answer: Answer) -> OciError {
        let status = answer.status();
        match status.as_u16() {
            401 | 403 => self.denied(answer),
            404 => OciError::Missing(without_query(address)),
            _ => {
                let reason = format!("the server answered {status}{}", explanation(answer));
                OciError::Http { address: without_query(address), reason }
            }
        }
    }

    fn denied(&self, answer: Answer) -> OciError {
        OciError::Denied {
            registry: self.registry.clone(),
            repository: self.repository.clone(),
            reason: format!("it answered {}{}", answer.status(), explanation(answer)),
        }
    }
}

fn leads_here(from: &str, to: &str) -> AttemptFailure {
    let reason = format!("it sends whoever asks to this host, `{}`", without_query(to));
    AttemptFailure::Final(OciError::Http { address: without_query(from), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a password may go to an address that a registry names; none where nobody may be asked there.
    fn check(reference: &str, plain_http: bool, address: &str, expected: Option<bool>) {
        let access = Access { plain_http, ..Access::anonymous() };
        let client = Client::new(&reference.parse().unwrap(), &access).unwrap();
        assert_eq!(client.check_plain(address).ok(), expected, "{reference} {address}");
    }

    #[test]
    fn without_encryption_a_password_goes_only_to_the_registry_itself() {
        let (remote, here) = ("reg.example:5000/a", "localhost:5000/a");
        check(remote, false, "https://auth.example/token", Some(true));
        check(remote, false, "http://auth.example/token", None);
        check(remote, false, "http://reg.example:5000/token", None);
        check(remote, false, "http://localhost/token", None);
        check(remote, true, "http://auth.example/token", Some(false));
        check(remote, true, "http://localhost/token", Some(false));
        check(remote, true, "http://reg.example:5001/token", Some(true));
        check(here, false, "http://127.0.0.1:1/token", Some(true));
        check(here, false, "http://[::1]:1/token", Some(true));
        check(here, false, "http://auth.example/token", None);
        check(here, false, "HTTP://auth.example/token", None);
        check(here, false, "http://localhost:x@auth.example/token", None);
        for bad in ["", "/token", "ftp://reg.example/token", "reg.example/token"] {
            check(remote, true, bad, None);
        }
    }

    #[test]
    fn credentials_are_for_the_registry_that_they_name() {
        let of = |registry: Option<&str>| {
            let registry = registry.map(str::to_owned);
            let credentials = Credentials { registry, user: "u".into(), password: "p".into() };
            let access = Access { credentials: Some(credentials), ..Access::anonymous() };
            let client = Client::new(&"reg.example:5000/a".parse().unwrap(), &access);
            client.map(|client| client.credentials.is_some())
        };
        assert!(of(Some("reg.example:5000")).unwrap() && of(Some("REG.example:5000")).unwrap());
        assert!(!of(Some("reg.example")).unwrap() && !of(Some("reg.example:50")).unwrap());
        assert!(matches!(of(None), Err(OciError::Unbound)));
    }
}
