//! A pool of which nothing runs: requests wait each for its time, whoever starts servers is told at once, and the first
//! healthy server answers.

mod support;

use std::{
    io::{Read, Write},
    net::SocketAddr,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hornero_edge::EdgeClient;
use hornero_model::{Admission, EdgeStatus, Millis, Protocol, RouteTable};
use support::{
    TestEdge, address,
    backend::{Backend, odd},
    client::{Answer, Client, get},
    contract, counters, service, table, table_of, tcp_contract,
};

fn idle(mut table: RouteTable, wait: Millis, at_most: u32) -> RouteTable {
    table.pools[0].admission = Admission::Idle { wait, at_most };
    table
}

/// An edge with a pool of which nothing runs.
fn asleep(wait: Millis, at_most: u32) -> TestEdge {
    let mut edge = TestEdge::start();
    edge.put(idle(table(0, edge.listener, Some(1), &[]), wait, at_most));
    edge
}

/// Somebody who asks, on a thread of their own.
fn ask(listener: SocketAddr) -> JoinHandle<Answer> {
    std::thread::spawn(move || get(listener, "/").unwrap())
}

fn until_waiting(edge: &mut TestEdge, count: u64) -> EdgeStatus {
    edge.until_status("so many wait", |status| status.waiting_for(&service()) == count)
}

#[test]
fn the_first_that_waits_is_told_at_once_and_the_first_healthy_server_answers_without_another_table()
{
    let mut edge = asleep(Millis(30_000), 10);
    let known = edge.admin.status().unwrap().version;
    // A look that lasts for a minute ends with the request.
    let mut admin = EdgeClient::new(edge.dir.path());
    let looks = std::thread::spawn(move || admin.wait(known, Millis(60_000)).unwrap());
    let waits = ask(edge.listener);
    let told = looks.join().unwrap();
    assert_eq!(told.waiting_for(&service()), 1);
    assert_eq!(counters(&told, 1), (0, 0, 0, 0), "what waits counts for no release");
    let second = ask(edge.listener);
    until_waiting(&mut edge, 2);
    // Its server is in the table before it answers.
    let place = address();
    edge.put(idle(table(0, edge.listener, Some(1), &[(1, &[place])]), Millis(30_000), 10));
    assert_eq!(edge.admin.status().unwrap().waiting_for(&service()), 2);
    let _one = Backend::start_at(place, "one");
    for answer in [waits, second] {
        let answer = answer.join().unwrap();
        assert_eq!((answer.status, answer.text()), (200, "one".to_owned()));
    }
    let status = until_waiting(&mut edge, 0);
    assert_eq!(counters(&status, 1), (2, 0, 0, 0));
    assert_eq!(get(edge.listener, "/").unwrap().status, 200, "and goes on without a wait");
}

#[test]
fn each_waits_for_its_own_time_and_no_more_than_may() {
    let mut edge = asleep(Millis(400), 2);
    let begun = Instant::now();
    let first = ask(edge.listener);
    until_waiting(&mut edge, 1);
    let second = ask(edge.listener);
    until_waiting(&mut edge, 2);
    let refused = get(edge.listener, "/").unwrap();
    assert_eq!(refused.status, 503, "there is no room for a third");
    assert!(refused.header("retry-after").is_some());
    // Another table that holds it still gives nobody more time.
    edge.put(idle(table(0, edge.listener, Some(1), &[]), Millis(400), 2));
    for answer in [first, second] {
        let answer = answer.join().unwrap();
        assert_eq!(answer.status, 503);
        assert!(answer.header("retry-after").is_some());
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(5), "{took:?}");
    let status = until_waiting(&mut edge, 0);
    assert_eq!(counters(&status, 1), (3, 0, 3, 0));
    // Its end is none of the pool's: whoever comes later waits as well, and is told of again.
    let late = ask(edge.listener);
    until_waiting(&mut edge, 1);
    let one = Backend::start("one");
    edge.put(table(0, edge.listener, Some(1), &[(1, &[one.address])]));
    assert_eq!(late.join().unwrap().text(), "one");
}

#[test]
fn a_server_that_is_not_healthy_opens_nothing() {
    let mut edge = asleep(Millis(30_000), 10);
    let one = Backend::start("one");
    one.set_healthy(false);
    let waits = ask(edge.listener);
    until_waiting(&mut edge, 1);
    edge.put(idle(table(0, edge.listener, Some(1), &[(1, &[one.address])]), Millis(30_000), 10));
    edge.until_status("it was checked", |status| {
        status.backends.iter().any(|backend| backend.last_error.is_some())
    });
    assert_eq!((one.requests(), edge.admin.status().unwrap().waiting_for(&service())), (0, 1));
    one.set_healthy(true);
    assert_eq!(waits.join().unwrap().text(), "one");
}

#[test]
fn connections_wait_for_a_server_too() {
    let echo = odd(|_, mut stream| {
        let mut byte = [0];
        if stream.read_exact(&mut byte).is_ok() {
            let _ = stream.write_all(&byte);
        }
    });
    let mut edge = TestEdge::start();
    let of = |sets: &[(u32, &[SocketAddr])]| {
        table_of(0, edge.listener, Protocol::Tcp, Some(1), sets, tcp_contract)
    };
    let (asleep, awake) = (of(&[]), of(&[(1, &[echo])]));
    edge.put(idle(asleep, Millis(30_000), 1));
    let mut client = Client::connect(edge.listener);
    client.send("a");
    until_waiting(&mut edge, 1);
    edge.put(idle(awake, Millis(30_000), 1));
    assert_eq!(client.read_exact(1).unwrap(), b"a");
}

#[test]
fn an_edge_that_starts_again_holds_by_its_table_on_disk() {
    let mut edge = asleep(Millis(30_000), 10);
    edge.edge.take().unwrap().stop().unwrap();
    edge.edge = Some(hornero_edge::Edge::start(support::options(edge.dir.path())).unwrap());
    let waits = ask(edge.listener);
    until_waiting(&mut edge, 1);
    let one = Backend::start("one");
    let mut awake = table(9, edge.listener, Some(1), &[(1, &[one.address])]);
    awake.pools[0].health = Some(contract(one.address.port()));
    edge.admin.apply(&idle(awake, Millis(30_000), 10)).unwrap();
    assert_eq!(waits.join().unwrap().text(), "one");
}
