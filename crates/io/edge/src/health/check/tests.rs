//! Servers of every kind that is met, on real connections.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream as Connection},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::*;

const KEPT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";
const TIMEOUT: Duration = Duration::from_millis(600);

/// A server, and how many connections it has accepted.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    /// Serves each connection on a thread of its own, or all on one.
    fn start(threads: bool, serve: impl Fn(Connection) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, accepted) = (listener.local_addr().unwrap(), Arc::default());
        let counter: Arc<AtomicUsize> = Arc::clone(&accepted);
        thread::spawn(move || {
            for connection in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                let (connection, serve) = (connection.unwrap(), serve.clone());
                if threads {
                    thread::spawn(move || serve(connection));
                } else {
                    serve(connection);
                }
            }
        });
        Self { address, accepted }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn checker(&self, contains: Option<&str>) -> Checker {
        let check = HttpCheck {
            port: self.address.port(),
            path: "/health".to_owned(),
            status: None,
            contains: contains.map(str::to_owned),
        };
        Checker::new(self.address, Some(Check::Http(check)), TIMEOUT, None)
    }
}

/// Reads the head of a request; none where the client has closed.
fn request(connection: &Connection) -> Option<String> {
    let mut head = String::new();
    let mut reader = BufReader::new(connection);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return None;
        }
    }
    Some(head)
}

/// Answers every request on a connection, until it is told that one is the last.
fn answer_all(mut connection: Connection, answer: &str) {
    while let Some(head) = request(&connection) {
        if connection.write_all(answer.as_bytes()).is_err() || head.contains("connection: close") {
            return;
        }
    }
}

/// Why the server failed a check.
fn reason(result: Result<(), Failed>) -> String {
    match result {
        Err(Failed::Backend(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

#[test]
fn connections_are_kept_and_renewed() {
    run(async {
        let server = Server::start(true, |connection| answer_all(connection, KEPT));
        let mut checker = server.checker(Some("fine"));
        for _ in 0..2 + 3 * 11 {
            checker.check(false).await.unwrap();
        }
        // One to begin with; then each is renewed after its ten.
        assert_eq!(server.accepted(), 2 + 3);
    });
}

#[test]
fn a_server_that_is_doubted_is_asked_on_a_new_connection() {
    run(async {
        let server = Server::start(true, |connection| answer_all(connection, KEPT));
        let mut checker = server.checker(None);
        for doubted in [true, false, false, true, true] {
            checker.check(doubted).await.unwrap();
        }
        assert_eq!(server.accepted(), 4);
    });
}

/// Such as a program with one thread that speaks HTTP/1.1: while a connection waits, nobody else is served.
#[test]
fn a_server_of_one_connection_at_a_time_is_left_to_others() {
    run(async {
        let server = Server::start(false, |connection| answer_all(connection, KEPT));
        let mut checker = server.checker(None);
        for _ in 0..5 {
            checker.check(false).await.unwrap();
        }
        // Somebody else finds it free, and has it for as long as he likes.
        let mut other = Connection::connect(server.address).unwrap();
        other.set_read_timeout(Some(TIMEOUT * 4)).unwrap();
        other.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(&other).read_line(&mut line).unwrap();
        assert_eq!(line, "HTTP/1.1 200 OK\r\n");
    });
}

#[test]
fn a_connection_that_the_server_ended_while_it_waited_is_no_failure() {
    run(async {
        // It says that it keeps the connection, and ends it after the second answer.
        let server = Server::start(true, |mut connection| {
            for _ in 0..2 {
                if request(&connection).is_none() {
                    return;
                }
                connection.write_all(KEPT.as_bytes()).unwrap();
            }
        });
        let mut checker = server.checker(None);
        for number in 0..20 {
            assert!(checker.check(false).await.is_ok(), "check {number}");
        }
    });
}

#[test]
fn a_server_that_accepts_nobody_any_more_is_found_out() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for _ in 0..2 {
                let (connection, _) = listener.accept().unwrap();
                thread::spawn(move || answer_all(connection, KEPT));
            }
        });
        let server = Server { address, accepted: Arc::default() };
        let mut checker = server.checker(None);
        let mut passed = 0;
        while checker.check(false).await.is_ok() {
            passed += 1;
            assert!(passed < 20, "it is still healthy");
        }
        assert_eq!(passed, 2 + CHECKS_A_CONNECTION);
    });
}

#[test]
fn a_server_that_hangs_fails_within_its_time_on_a_kept_connection_too() {
    run(async {
        // Whoever holds it keeps every answer back.
        let gate = Arc::new(tokio::sync::Mutex::new(()));
        let answering = Arc::clone(&gate);
        let server = Server::start(true, move |mut connection| {
            while request(&connection).is_some() {
                drop(answering.blocking_lock());
                let _ = connection.write_all(KEPT.as_bytes());
            }
        });
        let mut checker = server.checker(None);
        for _ in 0..3 {
            checker.check(false).await.unwrap();
        }
        let held = gate.lock().await;
        let why = reason(checker.check(false).await);
        assert_eq!(why, format!("no answer within {} ms", TIMEOUT.as_millis()));
        assert_eq!(server.accepted(), 2, "one check is one question");
        drop(held);
        checker.check(true).await.unwrap();
    });
}

#[test]
fn what_is_not_over_or_says_close_is_not_kept() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfine",
        "HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nfine",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine and more",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfine\r\n",
    ] {
        run(async {
            let server = Server::start(true, move |connection| answer_all(connection, answer));
            let mut checker = server.checker(Some("fine"));
            for _ in 0..3 {
                checker.check(false).await.unwrap();
            }
            assert_eq!(server.accepted(), 3, "{answer}");
        });
    }
}

#[test]
fn a_failed_check_says_why_on_any_connection() {
    run(async {
        let asked = Arc::new(AtomicUsize::new(0));
        let server = Server::start(true, move |mut connection| {
            while request(&connection).is_some() {
                let number = asked.fetch_add(1, Ordering::SeqCst);
                let sick = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
                let answer = if number == 4 { sick } else { KEPT };
                let _ = connection.write_all(answer.as_bytes());
            }
        });
        let mut checker = server.checker(None);
        for _ in 0..4 {
            checker.check(false).await.unwrap();
        }
        let why = reason(checker.check(false).await);
        assert_eq!(why, "answered 503, expected 200 to 399");
    });
}
