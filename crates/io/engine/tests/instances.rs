//! What instances of the local engine get: network, files, limits.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    time::{Duration, Instant},
};

use hornero_conformance::{DEADLINE, Script, Subject, TERM};
use hornero_engine_port::{
    Engine, EngineError, FileContent, HostEntry, InstanceFile,
    log::{LogFrom, LogQuery},
};
use hornero_model::{Depth, Digest, InstanceId, SecretLabel, SecretVersion};
use hornero_net::HomeNetwork;
use hornero_secret::Vault;
use support::{TestHome, eventually, fresh_id, kill, shim_pid};

/// A network that is taken down whatever happens.
struct TestNetwork(HomeNetwork);

impl Drop for TestNetwork {
    fn drop(&mut self) {
        self.0.down().expect("take the network down");
    }
}

fn text(engine: &dyn Engine, id: &InstanceId) -> String {
    let page = engine.logs(id, &LogQuery::all(LogFrom::Start, 100)).expect("logs");
    page.lines.iter().map(|line| format!("{}\n", line.text)).collect()
}

#[test]
fn an_instance_answers_at_its_address_and_gives_it_back() {
    let home = TestHome::new();
    let mut network = HomeNetwork::open(&home.home()).expect("open the network");
    network.up().expect("bring the network up");
    let network = TestNetwork(network);
    let engine = home.engine_with(true);
    let id = fresh_id(0);
    let script = "busybox cat /etc/resolv.conf /etc/hosts; echo hello > /tmp/index.html
        exec busybox httpd -f -p 80 -h /tmp";
    let mut spec = home.shell(id.clone(), script);
    spec.hosts = vec![HostEntry { address: IpAddr::from([192, 0, 2, 7]), name: "peer".to_owned() }];
    let started = engine.start(TERM, &spec).expect("start");
    let address = started.address.expect("an address");
    let deadline = Instant::now() + DEADLINE;
    let mut stream = loop {
        match TcpStream::connect((address, 80)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}: {}", text(&engine, &id)),
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    assert!(answer.ends_with("hello\n"), "{answer}");
    let gateway = network.0.gateway();
    let lines =
        [format!("nameserver {gateway}"), format!("{address} kit"), "192.0.2.7 peer".to_owned()];
    // What it printed passes through its shim, which may be later than its answer.
    eventually("its lines", || {
        let output = text(&engine, &id);
        lines.iter().all(|line| output.contains(line))
    });

    let other = fresh_id(1);
    engine.start(TERM, &home.spec(other.clone(), &Script::Sleep)).expect("start");
    assert_eq!(network.0.held_addresses().expect("addresses").len(), 2);
    engine.stop(TERM, &id, DEADLINE).expect("stop");
    kill(shim_pid(&home.home(), &other).expect("a shim"));
    eventually("the addresses' return", || {
        network.0.held_addresses().expect("addresses").is_empty()
    });
    for id in [id, other] {
        engine.remove(TERM, &id).expect("remove");
        home.assert_nothing_left(&id);
    }
    let links = fs::read_dir(format!("/sys/class/net/{}/brif", network.0.bridge()));
    assert_eq!(links.expect("the bridge").count(), 0, "no link is left");
}

#[test]
fn metadata_that_an_instance_runs_from_is_held_until_it_ends() {
    let home = TestHome::new();
    let engine = home.engine();
    let spec = home.spec(fresh_id(9), &Script::Sleep);
    engine.start(TERM, &spec).expect("start");
    let store = home.store();
    let drop_all = || store.drop_metadata_but(&Default::default()).expect("drop");
    assert_eq!(drop_all(), 1);
    assert!(home.metadata().is_file());
    // Also by the shim alone: whoever started it may be gone.
    drop(engine);
    assert_eq!(drop_all(), 1);
    let engine = home.engine();
    engine.stop(TERM, &spec.id, DEADLINE).expect("stop");
    engine.remove(TERM, &spec.id).expect("remove");
    eventually("the shim's end", || drop_all() == 0);
    assert!(!home.metadata().exists());
    home.assert_nothing_left(&spec.id);
}

#[test]
fn addresses_of_others_are_left_alone() {
    let home = TestHome::new();
    let mut network = HomeNetwork::open(&home.home()).expect("open the network");
    network.up().expect("bring the network up");
    let network = TestNetwork(network);
    let step = InstanceId::new("bake-1-0").expect("an id");
    let address = network.0.allocate_address(&step).expect("an address");
    let engine = home.engine_with(true);
    engine.clean_up(TERM).expect("clean up");
    assert_eq!(network.0.held_addresses().expect("addresses"), [(step.clone(), address)]);
    network.0.release_address(&step).expect("given back");
}

#[test]
fn all_of_it_holds_on_every_rung() {
    support::on_every_rung();
}

#[test]
fn an_instance_has_the_files_of_its_configuration_and_no_others() {
    let home = TestHome::new();
    let engine = home.engine_with(false);
    let store = hornero_store::Store::open(home.home().join("store")).expect("open the store");
    let file = |path: &str, content: &str| InstanceFile {
        path: path.to_owned(),
        mode: 0o440,
        uid: 0,
        gid: 33,
        content: FileContent::Stored(store.put_object(content.as_bytes()).expect("put").digest),
    };
    let id = fresh_id(0);
    let script = "busybox cat /etc/shop.conf /run/deep/shop.conf
        busybox stat -c '%a %u %g' /etc/shop.conf; (echo x > /etc/shop.conf) || echo refused
        echo ready; exec busybox sleep 1000";
    let mut spec = home.shell(id.clone(), script);
    // As the image says it: what it has in scratch beyond that is told of.
    spec.scratch.clear();
    spec.files = vec![file("/etc/shop.conf", "one\n"), file("/run/deep/shop.conf", "two\n")];
    engine.start(TERM, &spec).expect("start");
    eventually("its lines", || text(&engine, &id).contains("ready\n"));
    let output = text(&engine, &id);
    assert!(output.starts_with("one\ntwo\n440 0 33\n"), "{output}");
    assert!(output.contains("refused\n"), "{output}");
    let verified = engine.verify(std::slice::from_ref(&id), Depth::Full).expect("verify");
    assert!(verified.iter().all(|one| one.ok) && verified.len() == 1, "{verified:?}");
    // Another engine value finds it as it is, by its record.
    assert!(engine.start(TERM, &spec).is_ok(), "the same again");
    spec.files.pop();
    assert!(matches!(engine.start(TERM, &spec), Err(EngineError::Invalid { .. })));

    // What is not there, or not what it was, starts nothing.
    let mut spec = home.shell(fresh_id(1), "exec busybox sleep 1000");
    spec.files = vec![file("/etc/shop.conf", "three\n")];
    spec.files[0].content = FileContent::Stored(Digest::of(b"never stored"));
    let refused = engine.start(TERM, &spec).expect_err("it has no content");
    let EngineError::NotStarted { reason, .. } = &refused else { panic!("{refused:?}") };
    assert!(reason.contains("/etc/shop.conf"), "{reason}");
    for id in [id, spec.id] {
        engine.remove(TERM, &id).expect("remove");
        home.assert_nothing_left(&id);
    }
}

#[test]
fn an_instance_has_its_secrets_in_memory_and_does_not_start_without_them() {
    let home = TestHome::new();
    let engine = home.engine_with(false);
    let vault = Vault::of(&home.home());
    let name = SecretLabel::new("db-password").expect("a label");
    let version = vault.set(&name, b"hunter-2").expect("set");
    let secret = |version: SecretVersion| InstanceFile {
        path: "/run/secrets/db".to_owned(),
        mode: 0o400,
        uid: 33,
        gid: 33,
        content: FileContent::Secret { name: name.clone(), version },
    };
    let id = fresh_id(0);
    let script = "echo \"$(busybox sha256sum < /run/secrets/db)\"
        busybox stat -c '%a %u %g' /run/secrets/db; (echo x > /run/secrets/db) || echo refused
        busybox grep ' /run/secrets/db ' /proc/self/mountinfo
        echo ready; exec busybox sleep 1000";
    let mut spec = home.shell(id.clone(), script);
    spec.scratch.clear();
    spec.files = vec![secret(version)];
    engine.start(TERM, &spec).expect("start");
    eventually("its lines", || text(&engine, &id).contains("ready\n"));
    let output = text(&engine, &id);
    let sum = Digest::of(b"hunter-2").hex();
    assert!(output.starts_with(&format!("{sum}  -\n400 33 33\n")), "{output}");
    assert!(output.contains("refused\n"), "{output}");
    let mount = output.lines().find(|line| line.contains(" /run/secrets/db ")).expect("a mount");
    assert!(mount.contains(" ro,nosuid,nodev,noexec") && mount.contains(" - tmpfs "), "{mount}");
    let record =
        fs::read_to_string(home.home().join("instances").join(id.as_str()).join("spec.json"));
    assert!(!record.expect("read").contains("hunter"), "the record names it, no more");
    let verified = engine.verify(std::slice::from_ref(&id), Depth::Full).expect("verify");
    assert!(verified.iter().all(|one| one.ok) && verified.len() == 1, "{verified:?}");

    let mut spec = home.shell(fresh_id(1), "exec busybox sleep 1000");
    spec.files = vec![secret(SecretVersion { number: 7, tail: 7 })];
    let refused = engine.start(TERM, &spec).expect_err("there is no such value");
    let EngineError::NotStarted { reason, .. } = &refused else { panic!("{refused:?}") };
    assert!(reason.contains("db-password"), "{reason}");
    for id in [id, spec.id] {
        engine.remove(TERM, &id).expect("remove");
        home.assert_nothing_left(&id);
    }
}
