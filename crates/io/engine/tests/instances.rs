//! What instances of the local engine get: network, files, limits; and single runs.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    time::{Duration, Instant},
};

use hornero_conformance::{DEADLINE, Script, Subject};
use hornero_engine::{
    Engine, HostEntry,
    log::{LogFrom, LogQuery},
};
use hornero_model::{ExitCause, InstanceId};
use hornero_net::HomeNetwork;
use support::{TestHome, eventually, fresh_id, kill, shim_pid};

/// A network that is taken down whatever happens.
struct TestNetwork(HomeNetwork);

impl Drop for TestNetwork {
    fn drop(&mut self) {
        self.0.down().expect("take the network down");
    }
}

fn text(engine: &dyn Engine, id: &InstanceId) -> String {
    let page = engine.logs(id, &LogQuery { from: LogFrom::Start, lines: 100 }).expect("logs");
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
    let started = engine.start(&spec).expect("start");
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
    let output = text(&engine, &id);
    let gateway = network.0.gateway();
    for line in
        [format!("nameserver {gateway}"), format!("{address} kit"), "192.0.2.7 peer".to_owned()]
    {
        assert!(output.contains(&line), "{line}: {output}");
    }

    let other = fresh_id(1);
    engine.start(&home.spec(other.clone(), &Script::Sleep)).expect("start");
    assert_eq!(network.0.held_addresses().expect("addresses").len(), 2);
    engine.stop(&id, DEADLINE).expect("stop");
    kill(shim_pid(&home.home(), &other).expect("a shim"));
    eventually("the addresses' return", || {
        network.0.held_addresses().expect("addresses").is_empty()
    });
    for id in [id, other] {
        engine.remove(&id).expect("remove");
        home.assert_nothing_left(&id);
    }
    let links = fs::read_dir(format!("/sys/class/net/{}/brif", network.0.bridge()));
    assert_eq!(links.expect("the bridge").count(), 0, "no link is left");
}

#[test]
fn use_is_measured() {
    let home = TestHome::new();
    let engine = home.engine();
    let id = fresh_id(2);
    let script = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; busybox sleep 1000";
    engine.start(&home.shell(id.clone(), script)).expect("start");
    eventually("some use", || {
        let usage = engine.usage(&id).expect("usage");
        usage.cpu_us > 0 && usage.memory_bytes > 0 && usage.pids >= 2
    });
    engine.remove(&id).expect("remove");
}

#[test]
fn a_single_run_leaves_nothing() {
    let home = TestHome::new();
    let engine = home.engine();
    let id = fresh_id(3);
    let run = |script: &str, timeout| {
        engine.run_to_end(&home.shell(id.clone(), script), timeout).expect("run")
    };
    let outcome = run("echo out; echo err >&2; exit 4", DEADLINE);
    assert_eq!((outcome.cause, outcome.output.as_str()), (Some(ExitCause::Code(4)), "out\nerr\n"));
    let outcome = run("echo begun; exec busybox sleep 1000", Duration::from_millis(300));
    assert_eq!(outcome.cause, None);
    home.assert_nothing_left(&id);
    assert!(engine.list().expect("list").is_empty());
}

#[test]
fn all_of_it_holds_on_every_rung() {
    support::on_every_rung();
}
