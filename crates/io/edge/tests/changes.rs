//! Tables that are told by what they change of the one in force: the edge has the same as if it had been told all of it.

mod support;

use std::net::{SocketAddr, TcpStream};

use hornero_edge::{Edge, EdgeClient, EdgeClientError, RefusalCode};
use hornero_model::{RouteTable, Term};
use support::{TestEdge, address, backend::Backend, client::get, options, table};

/// A table whose listeners are in the order of their addresses, as control makes them.
fn on_both(
    generation: u64,
    listeners: [SocketAddr; 2],
    active: u32,
    backend: SocketAddr,
) -> RouteTable {
    let mut both = table(generation, listeners[0], Some(active), &[(active, &[backend])]);
    let first = (*both.listeners[0]).clone();
    both.listeners.push(hornero_model::Listener { address: listeners[1], ..first }.into());
    both.listeners.sort_by_key(|listener| listener.address);
    both
}

#[test]
fn what_a_table_changes_is_all_that_an_edge_is_told() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let edge = TestEdge::start();
    let (kept, closed) = (edge.listener, address());
    let mut control = EdgeClient::of_term(edge.dir.path(), Term(3));
    let first = on_both(1, [kept, closed], 1, one.address);
    control.apply(&first).unwrap();
    assert_eq!(get(closed, "/").unwrap().text(), "one");
    let second = table(2, kept, Some(2), &[(2, &[two.address])]);
    let applied = control.apply_after(&first, &second).unwrap();
    assert!(applied.generation == 2 && applied.switch_ms > 0.0);
    assert_eq!(edge.admin_table(), second);
    assert_eq!(get(kept, "/").unwrap().text(), "two");
    assert!(TcpStream::connect(closed).is_err(), "nobody listens there any more");
    let again = control.apply_after(&first, &second).unwrap();
    assert_eq!((again.generation, again.switch_ms), (2, 0.0), "it is in force already");
}

#[test]
fn an_edge_with_another_table_is_told_all_of_the_next_one() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let mut edge = TestEdge::start();
    let listener = edge.listener;
    let of = |generation, backend: &Backend| {
        table(generation, listener, Some(1), &[(1, &[backend.address])])
    };
    EdgeClient::of_term(edge.dir.path(), Term(3)).apply(&of(7, &one)).unwrap();
    // Another control believes that its own table 7 is in force.
    let mut later = EdgeClient::of_term(edge.dir.path(), Term(4));
    let (believed, next) = (RouteTable { generation: 7, ..RouteTable::default() }, of(8, &two));
    later.apply_after(&believed, &next).unwrap();
    assert_eq!(edge.admin_table(), next);
    // One that was started again has its table from disk, and does not know who gave it.
    edge.edge.take().unwrap().stop().unwrap();
    edge.edge = Some(Edge::start(options(edge.dir.path())).unwrap());
    let last = of(9, &one);
    later.apply_after(&next, &last).unwrap();
    assert_eq!(edge.admin_table(), last);
    edge.until_healthy(1);
    assert_eq!(get(listener, "/").unwrap().text(), "one");
}

#[test]
fn an_older_control_changes_nothing() {
    let one = Backend::start("one");
    let edge = TestEdge::start();
    let of = |generation| table(generation, edge.listener, Some(1), &[(1, &[one.address])]);
    let (mut older, mut newer) = (
        EdgeClient::of_term(edge.dir.path(), Term(3)),
        EdgeClient::of_term(edge.dir.path(), Term(4)),
    );
    older.apply(&of(1)).unwrap();
    newer.obey().unwrap();
    let refused = older.apply_after(&of(1), &of(2)).unwrap_err();
    assert!(
        matches!(refused, EdgeClientError::Refused { code: RefusalCode::TermOver, .. }),
        "{refused:?}"
    );
    assert_eq!(edge.admin_table(), of(1));
}
