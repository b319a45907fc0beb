//! Registries that fail the same way again and again, fall silent, or ask for passwords on behalf of others.

mod support;

use std::time::{Duration, Instant};

use hornero_model::{Digest, ImageConfig};
use hornero_oci::{
    Access, Compression, Credentials, OciError, PackOptions, Patience, Quiet, Reference,
    RegistrySource, pull, push,
};
use hornero_store::{HealSource, Healing, ImageManifest, Store};
use support::{
    Home, file, put_layers,
    scripted::{Reply, Request, Scripted},
    small_image,
};

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn access() -> Access {
    let patience = Patience {
        pause: Duration::from_millis(5),
        send: Duration::from_millis(400),
        // Of a server in the same process, on a loaded machine.
        answer: Duration::from_secs(5),
        attempts: 3,
        ..Patience::default()
    };
    Access { patience, ..Access::anonymous() }
}

/// One blob of three chunks.
fn large_image(store: &Store) -> Digest {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let bytes: Vec<u8> = (0..18 << 20).map(|_| next()).collect();
    let layers = put_layers(store, |ingest| vec![vec![file(ingest, "large", &bytes, 0o644)]]);
    store.put_image(&ImageManifest::new(layers, ImageConfig::default())).unwrap()
}

fn push_large(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (OciError, Scripted) {
    let home = Home::new();
    let image = large_image(&home.store);
    let server = Scripted::start(script);
    let options = PackOptions { compression: Compression::None, cache: None };
    let to = reference(&server.reference("app:1"));
    let error = push(&home.store, &image, &to, &access(), &options, None, &Quiet).unwrap_err();
    (error, server)
}

/// Takes what is no upload, and begins uploads.
fn begins(request: &Request) -> Option<Reply> {
    let place = || vec![("Location", "/v2/app/blobs/uploads/one?state=1".to_owned())];
    match (request.method.as_str(), request.body_bytes) {
        ("HEAD", _) => Some(Reply::status(404)),
        ("POST", _) => Some(Reply::Answer(202, place(), String::new())),
        ("PUT", ..=1_000_000) => Some(Reply::status(201)),
        _ => None,
    }
}

#[test]
fn an_upload_that_breaks_at_the_same_byte_again_and_again_ends() {
    let chunks = std::sync::atomic::AtomicUsize::new(0);
    let (error, server) = push_large(move |request| {
        begins(request).unwrap_or_else(|| match request.method.as_str() {
            // The first chunk of every upload arrives, the second never does.
            "PATCH" => {
                if chunks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 1 {
                    return Reply::Break;
                }
                let location = "/v2/app/blobs/uploads/one?state=2".to_owned();
                let headers = vec![("Location", location), ("Range", "0-8388607".to_owned())];
                Reply::Answer(202, headers, String::new())
            }
            "GET" => Reply::status(404),
            _ => Reply::status(500),
        })
    });
    assert!(matches!(error, OciError::Http { .. }), "{error:?}");
    let uploads = server
        .requests()
        .iter()
        .filter(|request| request.method == "PATCH" && request.body_bytes > 1_000_000)
        .count();
    // Three attempts in a row that brought nothing new, after the one that did; two chunks each.
    assert!((4..=10).contains(&uploads), "{uploads}");
}

#[test]
fn a_registry_that_stops_reading_is_left() {
    let begun = Instant::now();
    let (error, server) = push_large(|request| begins(request).unwrap_or(Reply::Silence));
    assert!(matches!(error, OciError::Http { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(server.requests().iter().any(|request| request.method == "PATCH"));
}

fn credentials(registry: Option<String>) -> Access {
    let credentials = Credentials { registry, user: "maria".into(), password: "s3cret".into() };
    Access { credentials: Some(credentials), ..access() }
}

/// Wants a token from this address.
fn guarded(realm: String) -> Scripted {
    Scripted::start(move |request| match &request.authorization {
        Some(token) if token == "Bearer good" => Reply::status(404),
        _ => {
            let challenge = format!("Bearer realm=\"{realm}\",service=\"test\"");
            Reply::Answer(401, vec![("WWW-Authenticate", challenge)], String::new())
        }
    })
}

#[test]
fn a_password_goes_to_its_registry_and_to_no_other() {
    let tokens = Scripted::start(|_| Reply::Answer(200, vec![], "{\"token\":\"good\"}".into()));
    let registry = guarded(format!("http://127.0.0.1:{}/token", tokens.port));
    let from = reference(&registry.reference("app:1"));
    let asked = |access: &Access| {
        let error = pull(&Home::new().store, &from, access, &Quiet).unwrap_err();
        (error, tokens.requests().last().and_then(|request| request.authorization.clone()))
    };
    let own = credentials(Some(from.registry().to_owned()));
    let (error, said) = asked(&own);
    assert!(matches!(error, OciError::Missing(_)), "with the token it says what it has: {error:?}");
    assert!(said.is_some_and(|said| said.starts_with("Basic ")));
    let (_, said) = asked(&credentials(Some("other.example:5000".into())));
    assert_eq!(said, None, "the password is another registry's");
    let before = (registry.requests().len(), tokens.requests().len());
    let (error, _) = asked(&credentials(None));
    assert!(matches!(error, OciError::Unbound) && error.hint().is_some(), "{error:?}");
    assert_eq!((registry.requests().len(), tokens.requests().len()), before, "nobody was asked");
}

#[test]
fn a_password_goes_nowhere_without_encryption_that_a_challenge_names() {
    for realm in [
        "http://registry.invalid/token",
        "HTTP://registry.invalid/token",
        "http://localhost:x@registry.invalid/token",
        "http://127.0.0.1@registry.invalid/token",
    ] {
        let registry = guarded(realm.to_owned());
        let from = reference(&registry.reference("app:1"));
        let own = credentials(Some(from.registry().to_owned()));
        let error = pull(&Home::new().store, &from, &own, &Quiet).unwrap_err();
        assert!(
            matches!(&error, OciError::PlainHttp(host) if host == "registry.invalid")
                || matches!(&error, OciError::Refused { .. }),
            "{realm}: {error:?}"
        );
    }
}

#[test]
fn a_registry_to_heal_from_is_asked_once_and_only_when_something_is_damaged() {
    let home = Home::new();
    let image = small_image(&home.store);
    let registry = Scripted::start(|_| Reply::status(500));
    let from = reference(&registry.reference("app:1"));
    let mut source = RegistrySource::new(&from, &access());
    let mut heal = || home.store.heal_all(&mut [&mut source as &mut dyn HealSource]).unwrap();
    assert!(heal().is_empty());
    assert!(registry.requests().is_empty());
    for layer in &home.store.image(&image).unwrap().layers[..2] {
        std::fs::write(home.store.dir().join("layers").join(layer.hex()), "damage").unwrap();
    }
    let healed = heal();
    let failed = healed.iter().filter_map(|(_, healing)| match healing {
        Healing::Failed(why) => Some(why.join(" ")),
        _ => None,
    });
    let failed: Vec<String> = failed.collect();
    assert!(failed.len() >= 2, "{healed:?}");
    assert!(failed.iter().all(|why| why.contains("the server answered 500")), "{failed:?}");
    assert_eq!(registry.requests().len(), 3, "one manifest, three attempts");
}

/// Leads to this address whoever has the password.
fn leading(to: impl Fn(u16) -> String + Send + Sync + 'static) -> Scripted {
    let port = std::sync::Arc::new(std::sync::atomic::AtomicU16::new(0));
    let own = port.clone();
    let server = Scripted::start(move |request| match &request.authorization {
        None if request.target.starts_with("/v2/") => {
            let challenge = vec![("WWW-Authenticate", "Basic realm=\"test\"".to_owned())];
            Reply::Answer(401, challenge, String::new())
        }
        _ => {
            let location = to(own.load(std::sync::atomic::Ordering::Relaxed));
            Reply::Answer(307, vec![("Location", location)], String::new())
        }
    });
    port.store(server.port, std::sync::atomic::Ordering::Relaxed);
    server
}

fn pull_led(registry: &Scripted) -> OciError {
    let from = reference(&registry.reference("app:1"));
    let own = credentials(Some(from.registry().to_owned()));
    pull(&Home::new().store, &from, &own, &Quiet).unwrap_err()
}

#[test]
fn nobody_is_led_to_another_host_without_encryption() {
    for address in
        ["http://storage.invalid/x", "//storage.invalid/x", "HTTP://storage.invalid:81/x"]
    {
        let error = pull_led(&leading(move |_| address.to_owned()));
        assert!(
            matches!(&error, OciError::PlainHttp(host) if host == "storage.invalid"),
            "{error:?}"
        );
    }
    // Nor over an address that is allowed.
    let second = leading(|_| "http://storage.invalid/x".to_owned());
    let port = second.port;
    let error = pull_led(&leading(move |_| format!("http://127.0.0.1:{port}/x")));
    assert!(matches!(&error, OciError::PlainHttp(host) if host == "storage.invalid"), "{error:?}");
}

#[test]
fn whoever_is_led_elsewhere_says_no_password_there() {
    for (status, challenge) in [(404, ""), (401, "Basic realm=\"x\"")] {
        let challenge = vec![("WWW-Authenticate", challenge.to_owned())];
        let storage =
            Scripted::start(move |_| Reply::Answer(status, challenge.clone(), String::new()));
        let port = storage.port;
        let error = pull_led(&leading(move |_| format!("http://127.0.0.1:{port}/x")));
        match status {
            404 => assert!(matches!(error, OciError::Missing(_)), "{error:?}"),
            _ => assert!(matches!(error, OciError::Denied { .. }), "{error:?}"),
        }
        let requests = storage.requests();
        assert!(!requests.is_empty());
        assert!(requests.iter().all(|request| request.authorization.is_none()), "{requests:?}");
    }
}

#[test]
fn addresses_that_lead_to_each_other_end() {
    let registry = leading(|port| format!("http://127.0.0.1:{port}/around"));
    let error = pull_led(&registry);
    assert!(matches!(&error, OciError::Http { .. }), "{error:?}");
    assert!(error.to_string().contains("from one address to another"), "{error}");
    assert!(registry.requests().len() < 10, "{}", registry.requests().len());
}
