//! Certificates that are missing, broken or renewed: each concerns the listener that has it, and no other.

mod support;

use std::{fs, net::SocketAddr};

use hornero_edge::Edge;
use hornero_model::{Listener, RouteTls};
use support::{
    TestEdge, address,
    backend::Backend,
    client::get,
    options, table,
    tls::{certificate, in_file, shown},
    until,
};

/// An edge with a listener that speaks TLS with these files, and one that does not.
struct Both {
    edge: TestEdge,
    plain: SocketAddr,
    secure: SocketAddr,
    _backend: Backend,
}

impl Both {
    fn with(files: impl FnOnce(&TestEdge) -> RouteTls) -> Self {
        let backend = Backend::start("one");
        let mut edge = TestEdge::start();
        let (plain, secure) = (edge.listener, address());
        let mut table = table(0, plain, Some(1), &[(1, &[backend.address])]);
        let tls = Some(files(&edge));
        table.listeners.push(Listener { address: secure, tls, ..table.listeners[0].clone() });
        edge.put(table);
        edge.until_healthy(1);
        Self { edge, plain, secure, _backend: backend }
    }

    /// The one fault there is, once it says this.
    fn until_fault(&mut self, part: &str) -> String {
        let status = self.edge.until_status(part, |status| {
            status.faults.iter().any(|fault| fault.reason.contains(part))
        });
        assert_eq!(status.faults.len(), 1, "{:?}", status.faults);
        assert_eq!(status.faults[0].address, self.secure);
        assert_eq!(get(self.plain, "/").unwrap().status, 200, "the other listener serves");
        status.faults[0].reason.clone()
    }

    fn until_whole(&mut self) {
        self.edge.until_status("nothing is wrong", |status| status.faults.is_empty());
    }
}

fn missing(edge: &TestEdge) -> RouteTls {
    let path = |name: &str| edge.dir.path().join(name).to_str().unwrap().to_owned();
    RouteTls { certificate: path("cert.pem"), key: path("key.pem") }
}

#[test]
fn a_missing_certificate_is_awaited() {
    let mut both = Both::with(missing);
    let reason = both.until_fault("nobody can connect");
    assert!(reason.contains("cert.pem` for TLS: No such file"), "{reason}");
    assert_eq!(shown(both.secure), None);
    let files = certificate(both.edge.dir.path(), "localhost");
    both.until_whole();
    assert_eq!(shown(both.secure), Some(in_file(&files)));
}

#[test]
fn a_renewed_certificate_is_served_by_itself() {
    let mut both = Both::with(|edge| certificate(edge.dir.path(), "localhost"));
    both.until_whole();
    let first = shown(both.secure).expect("it is served");
    // Renewed beside it and moved into its place, as ACME clients do.
    let fresh = tempfile::tempdir_in(both.edge.dir.path()).unwrap();
    let files = certificate(fresh.path(), "localhost");
    let (dir, renewed) = (both.edge.dir.path().to_owned(), in_file(&files));
    fs::rename(&files.key, dir.join("key.pem")).unwrap();
    fs::rename(&files.certificate, dir.join("cert.pem")).unwrap();
    assert_ne!(first, renewed);
    until("it is served", || shown(both.secure).as_ref() == Some(&renewed));
    both.until_whole();
}

#[test]
fn the_last_good_certificate_stays() {
    let mut both = Both::with(|edge| certificate(edge.dir.path(), "localhost"));
    let good = shown(both.secure).expect("it is served");
    let dir = both.edge.dir.path().to_owned();
    let own = dir.join("key.pem");
    let other = tempfile::tempdir().unwrap();
    let files = certificate(other.path(), "localhost");
    let kept = fs::read(&own).unwrap();
    let pipe = other.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let cases: [(&str, &dyn Fn()); 6] = [
        ("it is not the key of", &|| fs::write(&own, fs::read(&files.key).unwrap()).unwrap()),
        ("key.pem` for TLS: No such file", &|| fs::remove_file(&own).unwrap()),
        ("key.pem` for TLS", &|| fs::write(&own, "no key").unwrap()),
        ("it is no file", &|| {
            fs::remove_file(&own).unwrap();
            fs::create_dir(&own).unwrap();
        }),
        ("it is no file", &|| {
            fs::remove_dir(&own).unwrap();
            fs::rename(&pipe, &own).unwrap();
        }),
        ("it has more than 1 MiB", &|| {
            fs::remove_file(&own).unwrap();
            fs::write(&own, vec![b'a'; (1 << 20) + 1]).unwrap();
        }),
    ];
    for (part, spoil) in cases {
        spoil();
        let reason = both.until_fault(part);
        assert!(reason.ends_with("the certificate from before is served"), "{reason}");
        assert_eq!(shown(both.secure), Some(good.clone()), "{part}");
    }
    fs::write(&own, kept).unwrap();
    both.until_whole();
    assert_eq!(shown(both.secure), Some(good));
}

#[test]
fn an_edge_that_starts_serves_everything_else() {
    let mut both = Both::with(|edge| certificate(edge.dir.path(), "localhost"));
    let dir = both.edge.dir.path().to_owned();
    both.edge.edge.take().unwrap().stop().unwrap();
    fs::rename(dir.join("cert.pem"), dir.join("away.pem")).unwrap();
    both.edge.edge = Some(Edge::start(options(&dir)).unwrap());
    both.edge.until_healthy(1);
    both.until_fault("cert.pem` for TLS: No such file");
    // Other tables come into force meanwhile.
    let generation = both.edge.admin.status().unwrap().generation;
    let mut next = table(generation + 1, both.plain, None, &[]);
    let tls = Some(missing(&both.edge));
    next.listeners.push(Listener { address: both.secure, tls, ..next.listeners[0].clone() });
    both.edge.admin.apply(&next).unwrap();
    assert_eq!(get(both.plain, "/").unwrap().status, 503);
    fs::rename(dir.join("away.pem"), dir.join("cert.pem")).unwrap();
    both.until_whole();
    assert!(shown(both.secure).is_some());
}
