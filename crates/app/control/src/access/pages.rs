//! What a browser gets that is no answer of the API: the files of the dashboard, and the way in.

use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Response, StatusCode,
    body::Bytes,
    header::{self, HeaderName, HeaderValue},
};

use crate::{
    answer::{Answer, ApiRefusal, Body},
    dashboard::{self, DashboardFile},
};

/// What every answer over TCP says to a browser: nothing of it runs, is framed, is read or is kept elsewhere.
const GUARDING: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// The name of what a browser has. Browsers tell ports apart in nothing else of a cookie.
pub fn cookie_name(tls: bool, port: u16) -> String {
    // Browsers take a cookie of this name only from TLS, and send it nowhere but here (RFC 6265bis, 4.1.3).
    let prefix = if tls { "__Host-" } else { "" };
    format!("{prefix}hornero-{port}")
}

/// The value of a cookie, where there is one of this name.
pub fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim())
}

/// An answer that is all headers.
fn bare(status: StatusCode, headers: &[(HeaderName, &str)]) -> Answer {
    let mut response: Response<Body> = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = status;
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).map_err(ApiRefusal::internal)?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// Lets a browser in: it has `secret` from now on, and goes to the first page.
pub fn let_in(name: &str, secret: &str, tls: bool) -> Answer {
    let secure = if tls { "; Secure" } else { "" };
    let cookie = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict{secure}");
    bare(
        StatusCode::SEE_OTHER,
        &[
            (header::LOCATION, "/"),
            (header::SET_COOKIE, &cookie),
            (header::CACHE_CONTROL, "no-store"),
        ],
    )
}

/// Has a browser forget what it had.
pub fn forget(answer: &mut Response<Body>, name: &str, tls: bool) {
    let secure = if tls { "; Secure" } else { "" };
    let cookie = format!("{name}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

/// The file of the dashboard at a path, as it is written or as gzip where the browser takes that; none where there is none.
pub fn file(path: &str, headers: &HeaderMap) -> Option<Answer> {
    let file = dashboard::file(path)?;
    let DashboardFile { content_type, bytes, etag, .. } = file;
    let gzipped = takes_gzip(headers).then(|| file.gzipped()).flatten();
    // Each form has a tag of its own (RFC 9110, 8.8.3.3).
    let gzip_tag = format!("{}-gzip\"", etag.trim_end_matches('"'));
    let etag = if gzipped.is_some() { &gzip_tag } else { etag };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let about = [
        (header::ETAG, etag),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept-encoding"),
    ];
    if known.is_some_and(|known| known.split(',').any(|one| one.trim() == etag)) {
        return Some(bare(StatusCode::NOT_MODIFIED, &about));
    }
    let made = bare(StatusCode::OK, &about).map(|mut response| {
        let body = Bytes::from_static(gzipped.unwrap_or(bytes));
        *response.body_mut() = Full::new(body).boxed_unsync();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if gzipped.is_some() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    });
    Some(made)
}

/// Whether a browser says that it takes gzip (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let codings = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let weights: Vec<(&str, bool)> = codings
        .map(|coding| {
            let (name, rest) = coding.split_once(';').unwrap_or((coding, ""));
            let rest = rest.trim().to_ascii_lowercase();
            let weight = rest.strip_prefix("q=").map(str::trim);
            let is_refused = weight.is_some_and(|weight| weight.parse() == Ok(0.0_f32));
            (name.trim(), !is_refused)
        })
        .collect();
    let of = |wanted: &str| weights.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    of("gzip").or_else(|| of("x-gzip")).or_else(|| of("*")).is_some_and(|(_, takes)| *takes)
}

/// Adds what every answer over TCP says.
pub fn guard(response: &mut Response<Body>) {
    let status = response.status();
    let headers = response.headers_mut();
    for (name, value) in &GUARDING {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::TOO_MANY_REQUESTS => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("6"));
        }
        _ => {}
    }
    // Whoever may nothing keeps no connection.
    let is_refused = matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS | StatusCode::MISDIRECTED_REQUEST
    );
    if is_refused {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "xhornero-1=a; hornero-12=b".parse().unwrap());
        assert_eq!(cookie(&headers, "hornero-1"), None);
        headers.append(header::COOKIE, "a=b; hornero-1=secret=; hornero-1=other".parse().unwrap());
        assert_eq!(cookie(&headers, "hornero-1"), Some("secret="));
    }

    #[test]
    fn only_files_of_the_table_are_served() {
        let headers = HeaderMap::new();
        let page = file("/", &headers).unwrap().unwrap();
        let etag = page.headers()[header::ETAG].clone();
        for path in [
            "",
            "/..",
            "/../etc/passwd",
            "//",
            "/%2e%2e/etc/passwd",
            "/index.html/..",
            "/./",
            "/.",
            "/login",
            "/\0",
        ] {
            assert!(file(path, &headers).is_none(), "{path}");
        }
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, etag)]);
        assert_eq!(file("/", &known).unwrap().unwrap().status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn a_browser_that_takes_gzip_gets_it_with_a_tag_of_its_own() {
        let asked = |accepts: &str| {
            let accepts = HeaderValue::from_str(accepts).unwrap();
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, accepts)]);
            let page = file("/app.js", &headers).unwrap().unwrap();
            assert_eq!(page.headers()[header::VARY], "accept-encoding");
            let coding = page.headers().get(header::CONTENT_ENCODING).cloned();
            (coding, page.headers()[header::ETAG].clone())
        };
        let plain = asked("identity");
        assert_eq!(plain.0, None);
        for accepts in ["gzip", "br, GZIP;q=0.5", "deflate, x-gzip", "*", "gzip ; q=1"] {
            let (coding, tag) = asked(accepts);
            assert_eq!(coding.unwrap(), "gzip", "{accepts}");
            assert_ne!(tag, plain.1);
        }
        for accepts in ["", "br", "gzip;q=0", "gzip; Q=0.000, *", "*;q=0", "gzipped"] {
            assert_eq!(asked(accepts), plain, "{accepts}");
        }
        let known = HeaderMap::from_iter([
            (header::ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
            (header::IF_NONE_MATCH, asked("gzip").1),
        ]);
        assert_eq!(file("/app.js", &known).unwrap().unwrap().status(), StatusCode::NOT_MODIFIED);
        let of = dashboard::file("/app.js").unwrap();
        let mut whole = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(of.gzipped().unwrap());
        std::io::Read::read_to_end(&mut decoder, &mut whole).unwrap();
        assert_eq!(whole, of.bytes);
    }
}
