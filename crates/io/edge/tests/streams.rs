//! Long streams of bytes through TCP listeners: what the kernel moves by itself.

mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Mutex,
    time::Duration,
};

use hornero_model::{Protocol, ReleaseNumber};
use support::{TestEdge, backend::odd, service, table_of, tcp_contract, until};

/// Held by each test: the files of a process are counted.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes that tell where they stand, and in which stream.
fn bytes_of(stream: u64, from: usize, count: usize) -> Vec<u8> {
    let at = |place: usize| (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(stream);
    (from..from + count).map(|place| (at(place) >> 32) as u8).collect()
}

/// An edge before a server that sends back what it gets, in pieces of its own.
fn echo_edge(piece: usize) -> TestEdge {
    let address = odd(move |_, mut stream: TcpStream| {
        let mut bytes = vec![0; piece];
        while let Ok(count) = stream.read(&mut bytes) {
            if count == 0 || stream.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    });
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[address])];
    edge.put(table_of(0, edge.listener, Protocol::Tcp, Some(1), &sets, tcp_contract));
    edge.until_healthy(1);
    edge
}

/// Sends pieces of these sizes and reads all of it back, beside each other.
fn there_and_back(to: SocketAddr, stream: u64, pieces: Vec<usize>, pause: Duration) {
    let mut sending = TcpStream::connect(to).unwrap();
    let mut receiving = sending.try_clone().unwrap();
    receiving.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let total: usize = pieces.iter().sum();
    let sender = std::thread::spawn(move || {
        let mut from = 0;
        for piece in pieces {
            sending.write_all(&bytes_of(stream, from, piece)).unwrap();
            from += piece;
        }
        sending.shutdown(Shutdown::Write).unwrap();
    });
    let (mut from, mut buffer) = (0, vec![0; 100_000]);
    loop {
        let count = receiving.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        assert!(buffer[..count] == bytes_of(stream, from, count), "stream {stream} at {from}");
        from += count;
        // A client that lets the edge wait, whose bytes then stand in the middle.
        std::thread::sleep(pause);
    }
    sender.join().unwrap();
    assert_eq!(from, total, "stream {stream}");
}

#[test]
fn bytes_come_in_order_whatever_the_pieces_and_the_pace() {
    let _alone = ALONE.lock();
    let mut edge = echo_edge(70_000);
    let to = edge.listener;
    let pieces = |stream: usize| -> Vec<usize> {
        // Between one byte and half a megabyte, so that every way of moving follows every other.
        (0..60).map(|piece| 1_usize << ((stream * 7 + piece * 5) % 20)).collect()
    };
    let total: usize = (0..24).map(|stream| pieces(stream).iter().sum::<usize>()).sum();
    std::thread::scope(|scope| {
        for stream in 0..24 {
            let pause = Duration::from_micros(if stream % 3 == 0 { 2_000 } else { 0 });
            scope.spawn(move || there_and_back(to, stream as u64, pieces(stream), pause));
        }
    });
    until("every connection has ended", || edge.counters(1) == (24, 0, 0, 0));
    let status = edge.admin.status().unwrap();
    let counted = &status.counters[0];
    assert_eq!(
        (counted.bytes_in, counted.bytes_out),
        (Some(total as u64), Some(total as u64)),
        "what the kernel moves is counted as well"
    );
}

/// Files of this process that are pipes.
fn pipes() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
    let names = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    names.filter(|name| name.to_string_lossy().starts_with("pipe:")).count()
}

#[test]
fn a_stream_that_is_cut_off_leaves_nothing_behind() {
    let _alone = ALONE.lock();
    // Never reads: what is sent stays on the way.
    let address = odd(|_, stream: TcpStream| {
        std::thread::park_timeout(Duration::from_secs(300));
        drop(stream);
    });
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[address])];
    edge.put(table_of(0, edge.listener, Protocol::Tcp, Some(1), &sets, tcp_contract));
    edge.until_healthy(1);
    let before = pipes();
    let clients: Vec<TcpStream> = (0..100)
        .map(|stream| {
            let client = TcpStream::connect(edge.listener).unwrap();
            client.set_nonblocking(true).unwrap();
            let bytes = bytes_of(stream, 0, 1 << 20);
            let mut sent = 0;
            while let Ok(count) = (&client).write(&bytes[sent % bytes.len()..]) {
                sent += count;
            }
            client
        })
        .collect();
    until("all of them are connected", || edge.counters(1).1 == 100);
    until("bytes stand in pipes", || pipes() > before);
    assert_eq!(edge.admin.cut(&service(), ReleaseNumber(1)).unwrap(), 100);
    until("no pipe but empty ones that are kept", || pipes() <= before + 2 * 2 * 32);
    until("they are gone", || edge.counters(1).1 == 0);
    drop(clients);
}

#[test]
fn a_server_that_goes_away_in_the_middle_ends_its_stream_and_nothing_else() {
    let _alone = ALONE.lock();
    // Takes some of what comes, and leaves the rest unread: its end is a reset.
    let address = odd(|_, mut stream: TcpStream| {
        let mut some = vec![0; 200_000];
        let _ = stream.read_exact(&mut some);
    });
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[address])];
    edge.put(table_of(0, edge.listener, Protocol::Tcp, Some(1), &sets, tcp_contract));
    edge.until_healthy(1);
    for stream in 0..20 {
        let mut client = TcpStream::connect(edge.listener).unwrap();
        let bytes = bytes_of(stream, 0, 1 << 20);
        let gone = (0..200).any(|_| client.write_all(&bytes).is_err());
        assert!(gone, "stream {stream} goes on into nothing");
    }
    until("every stream has ended", || edge.counters(1).1 == 0);
}
