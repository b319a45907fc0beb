//! Streams and small messages through TCP proxies, and what they take of the processors.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    edge::{self, Contestant},
    peers,
    process::{self, Server, cpu_ms},
    setting::Setting,
    table::{Better, Table},
};

/// Bytes of one stream.
const STREAM_BYTES: u64 = 4 << 30;
/// Messages that go there and back, one after the other.
const MESSAGES: usize = 20_000;
/// Bytes of a message, and of its answer.
const MESSAGE_BYTES: u64 = 64;

pub fn measure(setting: &Setting) -> Result<Table> {
    peers::install(peers::EDGE)?;
    let directory = setting.scratch.join("tcp");
    fs::create_dir_all(&directory)?;
    let upstream = upstream()?;
    let mut contestants = vec![
        haproxy(&directory, "haproxy", "", upstream)?,
        haproxy(&directory, "haproxy with splice", "  option splice-auto\n", upstream)?,
    ];
    if !setting.peers_only {
        let answers = |address| ask(address, 1).is_ok();
        contestants.insert(0, edge::edge(&directory, "tcp", upstream, answers)?);
    }
    contestants.push(Contestant { name: "no proxy", address: upstream, server: None });

    let mut table = Table::new("TCP: one stream of 4 GiB, and messages of 64 bytes there and back");
    for run in 0..setting.runs {
        // Each run begins with another contestant, so that none is always the one after the idle machine.
        for offset in 0..contestants.len() {
            let contestant = &contestants[(run + offset) % contestants.len()];
            measure_one(&mut table, contestant)?;
        }
    }
    table.remark(
        "Client, proxy and server share the machine, the server and the client as threads of one process; every proxy with one \
         thread a core. Processor time is the proxy's own, user and system.",
    );
    Ok(table)
}

fn measure_one(table: &mut Table, contestant: &Contestant) -> Result<()> {
    let used = || contestant.server.as_ref().map(|server| cpu_ms(server.pid())).transpose();
    let before = used()?;
    let begun = Instant::now();
    ask(contestant.address, STREAM_BYTES)?;
    let gib = STREAM_BYTES as f64 / f64::from(1 << 30);
    let rate = gib / begun.elapsed().as_secs_f64();
    table.add("stream", "GiB/s", Better::More, contestant.name, rate);
    if let (Some(before), Some(after)) = (before, used()?) {
        let each = (after - before) / gib;
        table.add("processor time a GiB", "ms", Better::Less, contestant.name, each);
    }
    let mut times = messages(contestant.address)?;
    times.sort_unstable();
    let microseconds = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e6;
    table.add("there and back, median", "µs", Better::Less, contestant.name, microseconds(50));
    table.add("there and back, p99", "µs", Better::Less, contestant.name, microseconds(99));
    Ok(())
}

/// Asks for so many bytes and reads them.
fn ask(address: SocketAddr, count: u64) -> Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(&count.to_le_bytes())?;
    let mut buffer = vec![0; 1 << 20];
    let mut left = count;
    while left > 0 {
        let read = stream.read(&mut buffer)?;
        anyhow::ensure!(read > 0, "the stream of {count} bytes ended {left} too early");
        left = left.saturating_sub(read as u64);
    }
    Ok(())
}

fn messages(address: SocketAddr) -> Result<Vec<Duration>> {
    let mut stream = connect(address)?;
    let mut message = vec![0; MESSAGE_BYTES as usize];
    let mut times = Vec::with_capacity(MESSAGES);
    for _ in 0..MESSAGES {
        let begun = Instant::now();
        stream.write_all(&MESSAGE_BYTES.to_le_bytes())?;
        stream.read_exact(&mut message)?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// A server that sends as many bytes as it is asked for, again and again.
fn upstream() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    Ok(address)
}

/// Ends with its client.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let bytes = vec![b'x'; 1 << 20];
    let mut count = [0; 8];
    loop {
        stream.read_exact(&mut count)?;
        let mut left = u64::from_le_bytes(count);
        while left > 0 {
            let piece = left.min(bytes.len() as u64);
            stream.write_all(&bytes[..piece as usize])?;
            left -= piece;
        }
    }
}

fn haproxy(
    directory: &Path,
    name: &'static str,
    options: &str,
    upstream: SocketAddr,
) -> Result<Contestant> {
    let address = process::free_address()?;
    let threads = thread::available_parallelism()?;
    let config = format!(
        "global\n  nbthread {threads}\n  maxconn 400\n  no log\n\
         defaults\n  mode tcp\n{options}  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend front\n  bind {address}\n  default_backend back\n\
         backend back\n  server one {upstream}\n"
    );
    let path = directory.join(format!("{name}.cfg"));
    fs::write(&path, config).with_context(|| format!("cannot write `{}`", path.display()))?;
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(&path);
    let mut server = Server::start(name, &mut command, &directory.join("haproxy.log"))?;
    server.wait_until(|| ask(address, 1).is_ok())?;
    Ok(Contestant { name, address, server: Some(server) })
}
