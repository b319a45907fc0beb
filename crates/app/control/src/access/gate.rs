//! Decides who a request over TCP is from.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hornero_model::{ApiListener, Digest, Role, Timestamp};
use hyper::{Request, Response, StatusCode, header};

use super::{
    logins::Logins,
    origin::{check_page, checked_host, only_looks},
    pages::{self, cookie, cookie_name, let_in},
    rates::{Rates, Source},
    secret_text::same,
};
use crate::{
    answer::{Answer, ApiRefusal, Body},
    request::{Caller, HangUp, RemotePeer},
};

/// The path at which a browser changes its code for a cookie.
const LOGIN: &str = "/login";
/// Between two looks whether the browser at the other end of a connection is still in.
const SESSION_LOOK: Duration = Duration::from_secs(5);
/// Bytes of a token, a code or a cookie that are looked at.
const SECRET_BYTES: usize = 512;

/// What comes of a request before the API sees it.
pub enum Admitted {
    /// It is of the API, from whom.
    Caller(Caller),
    /// It is answered.
    Answer(Response<Body>),
}

/// Who is let in by which ways.
#[derive(Debug)]
pub struct AccessGate {
    /// What the settings say; nothing where there is only the way for browsers.
    declared: Option<ApiListener>,
    /// Codes and browsers.
    pub logins: Arc<Logins>,
    rates: Arc<Rates>,
}

impl AccessGate {
    /// For one way in.
    pub const fn new(
        declared: Option<ApiListener>,
        logins: Arc<Logins>,
        rates: Arc<Rates>,
    ) -> Self {
        Self { declared, logins, rates }
    }

    /// Looks at a request; `is_api` says whether the API has something at its path.
    pub fn admit<B>(
        &self,
        peer: &RemotePeer,
        request: &Request<B>,
        is_api: bool,
    ) -> Result<Admitted, ApiRefusal> {
        let (source, now) = (Source::from(peer.address.ip()), Instant::now());
        if !self.rates.may_ask(source, now) {
            return Err(too_many("this address asks more often than it may"));
        }
        let declared = self.declared.as_ref().map(|declared| &declared.hosts[..]);
        let host = checked_host(request, declared.unwrap_or_default())?;
        let (method, headers, path) = (request.method(), request.headers(), request.uri().path());
        if !is_api && only_looks(method) {
            if path == LOGIN {
                return self.log_in(peer, request.uri().query()).map(Admitted::Answer);
            }
            if let Some(file) = pages::file(path, headers) {
                return file.map(Admitted::Answer);
            }
        }
        let name = cookie_name(peer.tls, peer.local.port());
        let (token, browser) = (bearer(request)?, cookie(headers, &name));
        let by_cookie = token.is_none() && browser.is_some();
        check_page((method, headers), (&host, peer.tls), by_cookie)?;
        // Nobody guesses a cookie or a code, and a page that is left open goes on sending one that is over: to count
        // them would keep others of its address out.
        if token.is_some() {
            self.may_try(source)?;
        }
        let found = match (token, browser) {
            (Some(token), _) => self.by_token(token),
            (None, Some(browser)) => self.by_cookie(browser),
            (None, None) => self.by_certificate(peer),
        };
        if found.is_none() && token.is_some() {
            self.rates.was_wrong(source, now);
        }
        found.map(Admitted::Caller).ok_or_else(|| nobody(by_cookie))
    }

    /// Ends what the browser has that asks.
    pub fn log_out(
        &self,
        peer: &RemotePeer,
        headers: &header::HeaderMap,
        answer: &mut Response<Body>,
    ) {
        let name = cookie_name(peer.tls, peer.local.port());
        if let Some(secret) = cookie(headers, &name) {
            self.logins.leave(secret, Timestamp::now());
        }
        pages::forget(answer, &name, peer.tls);
    }

    /// Has a connection end once what its browser was given is over: a stream may have no end of its own.
    pub fn hang_up_with(&self, peer: &RemotePeer, headers: &header::HeaderMap, ends: &HangUp) {
        let name = cookie_name(peer.tls, peer.local.port());
        let Some(secret) = cookie(headers, &name).map(|secret| within(secret).to_owned()) else {
            return;
        };
        // One watch a connection, however much it asks.
        if !ends.is_first_watch() {
            return;
        }
        let (logins, connection) = (Arc::clone(&self.logins), ends.weak());
        tokio::spawn(async move {
            loop {
                // Leaving and time both end it; neither tells.
                tokio::time::sleep(SESSION_LOOK).await;
                let Some(connection) = connection.upgrade() else { return };
                if logins.browser(&secret, Timestamp::now()).is_none() {
                    connection.notify_one();
                    return;
                }
            }
        });
    }

    fn may_try(&self, source: Source) -> Result<(), ApiRefusal> {
        match self.rates.may_try(source, Instant::now()) {
            true => Ok(()),
            false => Err(too_many("too many wrong tokens came from this address")),
        }
    }

    fn log_in(&self, peer: &RemotePeer, query: Option<&str>) -> Answer {
        let code = query.and_then(|query| query.strip_prefix("code=")).unwrap_or_default();
        let taken = self.logins.take_code(within(code), Timestamp::now());
        let Some((secret, pass)) = taken else {
            let text =
                "this link is not valid, or not any more: each is valid once, for five minutes";
            let refusal = ApiRefusal::new(StatusCode::FORBIDDEN, "wrong_code", text);
            return Err(refusal.hint("`hornero dashboard` makes another"));
        };
        tracing::info!(user = pass.user, role = %pass.role, source = %peer.address, "a browser logged in");
        let_in(&cookie_name(peer.tls, peer.local.port()), &secret, peer.tls)
    }

    /// Each token is compared, so that the time says nothing of them.
    fn by_token(&self, token: &str) -> Option<Caller> {
        let digest = Digest::of(within(token).as_bytes());
        let tokens = self.declared.as_ref()?.tokens.iter();
        let found = tokens.fold(None, |found, grant| match same(&grant.sha256, &digest) {
            true => Some(grant),
            false => found,
        })?;
        Some(remote_caller(format!("token:{}", found.name), found.role, None))
    }

    fn by_cookie(&self, secret: &str) -> Option<Caller> {
        let pass = self.logins.browser(within(secret), Timestamp::now())?;
        Some(remote_caller(pass.user, pass.role, Some(pass.until)))
    }

    fn by_certificate(&self, peer: &RemotePeer) -> Option<Caller> {
        let name = peer.client.as_ref()?;
        let mut clients = self.declared.as_ref()?.clients.iter();
        let found = clients.find(|grant| grant.name == *name)?;
        Some(remote_caller(format!("certificate:{name}"), found.role, None))
    }
}

fn remote_caller(user: String, role: Role, until: Option<Timestamp>) -> Caller {
    Caller { user, process: None, schedule: None, role: Some(role), until, is_local: false }
}

/// As much of a secret as is looked at.
fn within(secret: &str) -> &str {
    if secret.len() > SECRET_BYTES { "" } else { secret }
}

/// The token of a request; none where it has none.
fn bearer<B>(request: &Request<B>) -> Result<Option<&str>, ApiRefusal> {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let (Some(value), more) = (values.next(), values.next()) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    match (token, more) {
        (Some(token), None) => Ok(Some(token)),
        _ => {
            let text = "the header `authorization` is to be one: `Bearer TOKEN`";
            Err(ApiRefusal::new(StatusCode::UNAUTHORIZED, "unauthorized", text))
        }
    }
}

fn too_many(text: &str) -> ApiRefusal {
    ApiRefusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", text)
        .hint("wait some seconds")
}

fn nobody(by_cookie: bool) -> ApiRefusal {
    let (text, hint) = match by_cookie {
        true => ("nobody is logged in here any more", "`hornero dashboard` makes a new link"),
        false => (
            "this API wants to know who asks",
            "send `authorization: Bearer TOKEN`; `hornero token new` makes one",
        ),
    };
    ApiRefusal::new(StatusCode::UNAUTHORIZED, "unauthorized", text).hint(hint)
}

/// Who a peer is, for tests of what needs one.
#[cfg(test)]
pub fn peer_of(address: &str) -> RemotePeer {
    let local = "127.0.0.1:8443".parse().unwrap();
    RemotePeer { address: address.parse().unwrap(), local, tls: false, client: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hornero_model::{ClientGrant, TokenGrant};

    struct Tried {
        _home: tempfile::TempDir,
        gate: AccessGate,
    }

    fn gate() -> Tried {
        let home = tempfile::tempdir().unwrap();
        let tokens = [("ci", Role::Releaser, "right"), ("look", Role::Viewer, "other")];
        let tokens = tokens.map(|(name, role, token)| TokenGrant {
            name: name.to_owned(),
            role,
            sha256: Digest::of(token.as_bytes()),
        });
        let declared = ApiListener {
            address: "127.0.0.1:8443".parse().unwrap(),
            tls: None,
            client_ca: None,
            hosts: Vec::new(),
            tokens: tokens.to_vec(),
            clients: vec![ClientGrant { name: "pager".to_owned(), role: Role::Operator }],
        };
        let gate =
            AccessGate::new(Some(declared), Arc::new(Logins::of(home.path())), Arc::default());
        Tried { _home: home, gate }
    }

    fn asked(
        gate: &AccessGate,
        peer: &RemotePeer,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Admitted, (StatusCode, String)> {
        let mut request = Request::builder().uri(path);
        for (name, value) in [("host", "127.0.0.1:8443")].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let is_api = hornero_api::matched("GET", request.uri().path()).is_some();
        gate.admit(peer, &request, is_api).map_err(|refusal| {
            let code = refusal.problem.code.clone();
            (crate::answer::told(Err(refusal)).status(), code)
        })
    }

    fn user(admitted: Result<Admitted, (StatusCode, String)>) -> Result<(String, Role), u16> {
        match admitted {
            Ok(Admitted::Caller(caller)) => Ok((caller.user, caller.role.unwrap())),
            Ok(Admitted::Answer(answer)) => Err(answer.status().as_u16()),
            Err((status, _)) => Err(status.as_u16()),
        }
    }

    #[test]
    fn tokens_cookies_and_certificates_say_who_asks() {
        let Tried { gate, _home } = gate();
        let peer = peer_of("192.0.2.1:1");
        let status = |headers: &[(&str, &str)]| user(asked(&gate, &peer, "/v1/status", headers));
        assert_eq!(
            status(&[("authorization", "Bearer right")]),
            Ok(("token:ci".into(), Role::Releaser))
        );
        assert_eq!(
            status(&[("authorization", "bearer other")]),
            Ok(("token:look".into(), Role::Viewer))
        );
        assert_eq!(status(&[]), Err(401));
        assert_eq!(status(&[("authorization", "Basic cmlnaHQ=")]), Err(401));
        assert_eq!(
            status(&[("authorization", "Bearer right"), ("authorization", "Bearer right")]),
            Err(401)
        );
        let pager = RemotePeer { client: Some("pager".to_owned()), ..peer.clone() };
        assert_eq!(
            user(asked(&gate, &pager, "/v1/status", &[])),
            Ok(("certificate:pager".into(), Role::Operator))
        );
        let other = RemotePeer { client: Some("other".to_owned()), ..peer.clone() };
        assert_eq!(user(asked(&gate, &other, "/v1/status", &[])), Err(401));
        let (code, _) = gate.logins.new_code("root", Role::Viewer, Timestamp::now());
        let path = format!("/login?code={code}");
        let Ok(Admitted::Answer(answer)) = asked(&gate, &peer, &path, &[]) else { panic!() };
        let set = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(set.contains("; HttpOnly; SameSite=Strict") && !set.contains("Domain"), "{set}");
        let cookie = set.split(';').next().unwrap();
        assert_eq!(status(&[("cookie", cookie)]), Ok(("dashboard:root".into(), Role::Viewer)));
        assert_eq!(status(&[("cookie", cookie), ("sec-fetch-site", "cross-site")]), Err(403));
        assert_eq!(user(asked(&gate, &peer, &path, &[])), Err(403), "the link is valid once");
        assert_eq!(
            user(asked(&gate, &peer, "/", &[])),
            Err(200),
            "the page has nothing of the home"
        );
    }

    #[test]
    fn whoever_guesses_is_not_heard_any_more() {
        let Tried { gate, _home } = gate();
        let peer = peer_of("192.0.2.1:1");
        for number in 0..10 {
            let guess = format!("Bearer {number}");
            assert_eq!(
                user(asked(&gate, &peer, "/v1/status", &[("authorization", &guess)])),
                Err(401)
            );
        }
        let right = [("authorization", "Bearer right")];
        assert_eq!(user(asked(&gate, &peer, "/v1/status", &right)), Err(429));
        assert!(user(asked(&gate, &peer_of("192.0.2.2:1"), "/v1/status", &right)).is_ok());
    }

    #[test]
    fn a_page_that_is_left_open_keeps_nobody_of_its_address_out() {
        let Tried { gate, _home } = gate();
        let peer = peer_of("192.0.2.1:1");
        let name = cookie_name(peer.tls, peer.local.port());
        for _ in 0..50 {
            let stale = format!("{name}=over");
            assert_eq!(user(asked(&gate, &peer, "/v1/status", &[("cookie", &stale)])), Err(401));
            assert_eq!(user(asked(&gate, &peer, "/login?code=guess", &[])), Err(403));
        }
        let right = [("authorization", "Bearer right")];
        assert!(user(asked(&gate, &peer, "/v1/status", &right)).is_ok());
        let (code, _) = gate.logins.new_code("root", Role::Viewer, Timestamp::now());
        let link = format!("/login?code={code}");
        assert!(matches!(asked(&gate, &peer, &link, &[]), Ok(Admitted::Answer(_))));
    }

    #[test]
    fn another_name_is_refused_whatever_it_brings() {
        let Tried { gate, _home } = gate();
        let request = Request::builder().uri("/v1/status").header("host", "evil.example.com:8443");
        let request = request.header("authorization", "Bearer right").body(()).unwrap();
        let refused = gate.admit(&peer_of("192.0.2.1:1"), &request, true);
        assert!(refused.is_err_and(|refusal| refusal.problem.code == "wrong_host"));
    }
}
