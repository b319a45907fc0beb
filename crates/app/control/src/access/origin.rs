//! Where a request of a browser comes from: by which name it was sent here, and from a page of whose.

use std::net::IpAddr;

use hyper::{HeaderMap, Method, Request, StatusCode, header};

use crate::answer::ApiRefusal;

/// The host by which this was called, without its port. A name that nobody declared is refused: a page elsewhere may have
/// its own name lead here (DNS rebinding), but it can't have an address for a name.
pub fn checked_host<B>(request: &Request<B>, declared: &[String]) -> Result<String, ApiRefusal> {
    let wrong = |shown: &str| {
        let shown: String = shown.chars().filter(|letter| !letter.is_control()).take(80).collect();
        let text = format!("this is not `{shown}`");
        ApiRefusal::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", text)
            .hint("use its address, or name the host in `hosts` of `api` in `settings.hcl`")
    };
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(wrong("")) };
    let host = host.to_str().map_err(|_| wrong(""))?;
    let authority: http::uri::Authority = host.parse().map_err(|_| wrong(host))?;
    let target = request.uri().authority();
    if authority.as_str().contains('@') || target.is_some_and(|target| *target != authority) {
        return Err(wrong(host));
    }
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_own = name.parse::<IpAddr>().is_ok() || name == "localhost" || declared.contains(&name);
    if is_own { Ok(host.to_ascii_lowercase()) } else { Err(wrong(host)) }
}

/// Whether a request changes nothing.
pub fn only_looks(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Refuses what a page of somebody else has a browser send. `host` is what [`checked_host`] gave.
pub fn check_page(
    (method, headers): (&Method, &HeaderMap),
    (host, tls): (&str, bool),
    by_cookie: bool,
) -> Result<(), ApiRefusal> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let refusal = || {
        let text = "this request comes from a page that is not of this API";
        ApiRefusal::new(StatusCode::FORBIDDEN, "wrong_origin", text)
    };
    let own = format!("{}://{host}", if tls { "https" } else { "http" });
    if let Some(origin) = text("origin") {
        // Where there is one it holds, also for who only looks: no page of others is to read.
        return if origin.eq_ignore_ascii_case(&own) { Ok(()) } else { Err(refusal()) };
    }
    let from = text("sec-fetch-site");
    match (by_cookie, only_looks(method)) {
        // A tool, which sends its token by itself.
        (false, _) => Ok(()),
        // Typed or opened, or asked for by a page of ours. Old browsers say nothing.
        (true, true) => match from {
            None | Some("same-origin" | "none") => Ok(()),
            Some(_) => Err(refusal()),
        },
        // Every browser says where a request with an effect comes from.
        (true, false) => {
            if from == Some("same-origin") {
                Ok(())
            } else {
                Err(refusal())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_of(target: &str, hosts: &[&str]) -> Result<String, ApiRefusal> {
        let mut request = Request::builder().uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        checked_host(&request.body(()).unwrap(), &["hornero.example.com".to_owned()])
    }

    #[test]
    fn names_that_nobody_declared_are_refused() {
        for good in [
            "127.0.0.1:8443",
            "127.0.0.1",
            "[::1]:8443",
            "localhost:1",
            "LOCALHOST",
            "hornero.example.com",
            "Hornero.Example.com.:8443",
            "192.0.2.7:8443",
        ] {
            assert!(host_of("/v1/status", &[good]).is_ok(), "{good}");
        }
        for bad in [
            "evil.example.com",
            "127.0.0.1.evil.example.com",
            "localhost.evil.example.com",
            "",
            "hornero.example.com.evil.example",
            "u@127.0.0.1",
            "127.0.0.1/",
            "a b",
            "0x7f000001",
        ] {
            assert!(host_of("/v1/status", &[bad]).is_err(), "{bad}");
        }
        assert!(host_of("/v1/status", &[]).is_err());
        assert!(host_of("/v1/status", &["127.0.0.1", "evil.example.com"]).is_err());
        assert!(host_of("http://127.0.0.1/v1/status", &["127.0.0.1"]).is_ok());
        assert!(host_of("http://evil.example.com/v1/status", &["127.0.0.1"]).is_err());
    }

    fn page(method: Method, by_cookie: bool, headers: &[(&'static str, &str)]) -> bool {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap())
            })
            .collect();
        check_page((&method, &headers), ("127.0.0.1:8443", false), by_cookie).is_ok()
    }

    #[test]
    fn pages_of_others_have_no_effect_and_read_nothing() {
        let own = ("origin", "http://127.0.0.1:8443");
        for origin in [
            "http://127.0.0.1:9999",
            "https://127.0.0.1:8443",
            "http://localhost:8443",
            "null",
            "http://127.0.0.1:8443.evil.example",
            "",
        ] {
            for (method, by_cookie) in
                [(Method::GET, true), (Method::POST, true), (Method::POST, false)]
            {
                assert!(!page(method, by_cookie, &[("origin", origin)]), "{origin}");
            }
        }
        assert!(page(Method::POST, true, &[own]));
        assert!(page(Method::POST, true, &[("sec-fetch-site", "same-origin")]));
        assert!(!page(Method::POST, true, &[]), "a form of an old browser");
        assert!(!page(Method::POST, true, &[("sec-fetch-site", "same-site")]));
        assert!(page(Method::POST, false, &[]), "a tool");
        assert!(page(Method::GET, true, &[("sec-fetch-site", "none")]));
        assert!(!page(Method::GET, true, &[("sec-fetch-site", "same-site")]), "another port");
        assert!(!page(Method::GET, true, &[("sec-fetch-site", "cross-site")]));
    }
}
