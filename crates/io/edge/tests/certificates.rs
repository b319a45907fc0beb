//! Certificates that are missing, broken or renewed: each concerns the listener that has it, and no other.

mod support;

use std::{fs, net::SocketAddr, os::unix::fs::MetadataExt, path::Path};

use hornero_edge::{Edge, TlsFile, look_at_certificate};
use hornero_model::{HostCertificate, Listener, RouteTls, Timestamp};
use support::{
    TestEdge, address,
    backend::Backend,
    client::get,
    options, table,
    tls::{certificate, in_file, shown, shown_to},
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
        let first = (*table.listeners[0]).clone();
        table.listeners.push(Listener { address: secure, tls, ..first }.into());
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
    fs::remove_dir_all(dir.join("certificates")).unwrap();
    both.edge.edge = Some(Edge::start(options(&dir)).unwrap());
    both.edge.until_healthy(1);
    both.until_fault("cert.pem` for TLS: No such file");
    // Other tables come into force meanwhile.
    let generation = both.edge.admin.status().unwrap().generation;
    let mut next = table(generation + 1, both.plain, None, &[]);
    let tls = Some(missing(&both.edge));
    let first = (*next.listeners[0]).clone();
    next.listeners.push(Listener { address: both.secure, tls, ..first }.into());
    both.edge.admin.apply(&next).unwrap();
    assert_eq!(get(both.plain, "/").unwrap().status, 503);
    fs::rename(dir.join("away.pem"), dir.join("cert.pem")).unwrap();
    both.until_whole();
    assert!(shown(both.secure).is_some());
}

impl Both {
    /// Ends the edge, has its certificate spoilt, and starts it again.
    fn restart(&mut self, spoil: impl FnOnce(&Path)) {
        let dir = self.edge.dir.path().to_owned();
        self.edge.edge.take().unwrap().stop().unwrap();
        spoil(&dir);
        self.edge.edge = Some(Edge::start(options(&dir)).unwrap());
        self.edge.until_healthy(1);
    }
}

#[test]
fn the_last_good_certificate_outlives_the_process() {
    let mut both = Both::with(|edge| certificate(edge.dir.path(), "localhost"));
    let good = shown(both.secure).expect("it is served");
    both.restart(|dir| fs::write(dir.join("key.pem"), "no key").unwrap());
    let reason = both.until_fault("key.pem` for TLS");
    assert!(reason.ends_with("the certificate from before is served"), "{reason}");
    assert_eq!(shown(both.secure), Some(good.clone()));
    // And the next one, which never saw it whole.
    both.restart(|dir| fs::remove_file(dir.join("cert.pem")).unwrap());
    both.until_fault("the certificate from before is served");
    assert_eq!(shown(both.secure), Some(good.clone()));
    let dir = both.edge.dir.path().join("certificates");
    let kept: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(&kept[0]).unwrap().mode() & 0o7777, 0o600);
    let renewed = certificate(both.edge.dir.path(), "localhost");
    both.until_whole();
    assert_eq!(shown(both.secure), Some(in_file(&renewed)));
    assert_ne!(shown(both.secure), Some(good));
    // What no route has any more is not kept.
    let mut table = both.edge.admin_table();
    table.listeners.retain(|listener| listener.tls.is_none());
    both.edge.put(table);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn a_kept_certificate_is_served_until_it_expires() {
    let expired = |edge: &TestEdge| {
        let path = |name: &str| edge.dir.path().join(name).to_str().unwrap().to_owned();
        let files = RouteTls { certificate: path("cert.pem"), key: path("key.pem") };
        let made = std::process::Command::new("faketime")
            .args([
                "3 days ago",
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"])
            .args(["-keyout", &files.key, "-out", &files.certificate])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        files
    };
    let mut both = Both::with(expired);
    // That is its owner's affair.
    assert!(shown(both.secure).is_some());
    both.restart(|dir| fs::write(dir.join("key.pem"), "no key").unwrap());
    both.until_fault("nobody can connect");
    assert_eq!(shown(both.secure), None);
}

#[test]
fn each_host_of_a_listener_shows_its_own_certificate() {
    let dirs: Vec<tempfile::TempDir> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let names = ["rest.test", "a.test", "*.a.test", "*.test"];
    let files: Vec<RouteTls> =
        dirs.iter().zip(names).map(|(dir, name)| certificate(dir.path(), name)).collect();
    let mut both = Both::with(|_| files[0].clone());
    let mut table = both.edge.admin_table();
    let hosts = names[1..].iter().zip(&files[1..]);
    let hosts =
        hosts.map(|(host, tls)| HostCertificate { host: (*host).to_owned(), tls: tls.clone() });
    let secure = both.secure;
    let listener = table.listeners.iter_mut().find(|listener| listener.address == secure).unwrap();
    listener.certificates = hosts.collect();
    both.edge.put(table);
    let cases = [
        ("a.test", 1),
        ("A.TEST", 1),
        ("b.a.test", 2),
        ("c.b.a.test", 2),
        ("b.test", 3),
        ("test", 0),
        ("elsewhere.example", 0),
        ("127.0.0.1", 0),
    ];
    for (name, index) in cases {
        assert_eq!(shown_to(secure, name), Some(in_file(&files[index])), "{name}");
    }
    both.until_whole();

    // An edge that starts with one bad certificate serves every other host.
    let dir = both.edge.dir.path().to_owned();
    both.edge.edge.take().unwrap().stop().unwrap();
    let away = dirs[2].path().join("away.pem");
    fs::rename(&files[2].certificate, &away).unwrap();
    fs::remove_dir_all(dir.join("certificates")).unwrap();
    both.edge.edge = Some(Edge::start(options(&dir)).unwrap());
    both.edge.until_healthy(1);
    let reason = both.until_fault("nobody can connect to `*.a.test`");
    assert!(reason.contains("No such file"), "{reason}");
    for (name, index) in cases {
        let expected = (index != 2).then(|| in_file(&files[index]));
        assert_eq!(shown_to(secure, name), expected, "{name}");
    }
    fs::rename(&away, &files[2].certificate).unwrap();
    both.until_whole();
    assert_eq!(shown_to(secure, "b.a.test"), Some(in_file(&files[2])));

    // What contradicts itself is refused as a whole.
    let mut table = both.edge.admin_table();
    let again = table.listeners.iter().position(|listener| listener.address == secure).unwrap();
    let first = table.listeners[again].certificates[0].clone();
    table.listeners[again].certificates.push(first);
    table.generation += 1;
    let refused = both.edge.admin.apply(&table).unwrap_err().to_string();
    assert!(refused.contains("two certificates for one host"), "{refused}");
}

#[test]
fn a_certificate_is_told_of_before_it_is_served() {
    let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let files = certificate(one.path(), "*.a.test");
    let look = |host: &str| look_at_certificate(&files, Some(host)).unwrap();
    let (from, until) = look("b.a.test").holds.expect("openssl writes when it holds");
    let now = Timestamp::now();
    // The host's clock may have gone on to the next second meanwhile.
    assert!(from <= now && now < until, "{from} {now} {until}");
    assert_eq!(until.since(from).0, 2 * 24 * 3_600 * 1_000, "two days, as it was asked for");
    for host in ["b.a.test", "B.A.Test", "*.a.test"] {
        assert_eq!(look(host).other_names, None, "{host}");
    }
    for host in ["a.test", "c.b.a.test", "*.b.a.test", "b.test"] {
        assert_eq!(look(host).other_names, Some(vec!["*.a.test".to_owned()]), "{host}");
    }
    let key = certificate(other.path(), "b.test").key;
    let mixed = RouteTls { key, ..files.clone() };
    let fault = look_at_certificate(&mixed, None).unwrap_err();
    assert_eq!(fault.file, TlsFile::Key);
    assert!(fault.reason.contains("is not the key of"), "{fault}");
    let gone = RouteTls { certificate: "/no/such/file".to_owned(), ..files };
    let fault = look_at_certificate(&gone, None).unwrap_err();
    assert_eq!(fault.file, TlsFile::Certificate);
    assert!(fault.reason.contains("/no/such/file"), "{fault}");
}
