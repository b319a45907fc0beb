//! Peers on this machine's loopback: Debian's registry, and a connection to it that breaks.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Long enough for a loaded machine; a test that waits this long has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what} did not come to be");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A process that ends with its test.
pub struct Server {
    child: Child,
}

impl Server {
    pub fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Server {
    /// Asks it to end, and waits for that; the second time there is nothing to do.
    pub fn end(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let id = self.child.id().to_string();
        let _ = Command::new("kill").arg(&id).status();
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begun.elapsed() > Duration::from_secs(15) {
                let _ = self.child.kill();
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.wait();
    }
}

/// Debian's `docker-registry` on a port of its own.
pub struct Registry {
    _server: Server,
    pub port: u16,
}

impl Registry {
    pub fn start(dir: &Path) -> Self {
        Self::with(dir, "")
    }

    /// That asks for the user `maria` and the password `s3cret`.
    pub fn with_password(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let file = dir.join("htpasswd");
        fs::write(&file, KNOWN).unwrap();
        Self::with(
            dir,
            &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display()),
        )
    }

    fn with(dir: &Path, more: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        let config = dir.join("config.yml");
        let data = dir.join("data");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n  secret: test\n{more}",
            data.display()
        );
        fs::write(&config, text).unwrap();
        let log = dir.join("log");
        let made = File::create(&log).unwrap();
        let server = Server::start(
            Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                .env("OTEL_TRACES_EXPORTER", "none")
                .stdin(Stdio::null())
                .stdout(made.try_clone().unwrap())
                .stderr(made),
        );
        let mut port = 0;
        wait_until("the registry", || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let said = log
                .split("listening on 127.0.0.1:")
                .nth(1)
                .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
            port = said.and_then(|digits| digits.parse().ok()).unwrap_or(0);
            port != 0
        });
        Self { _server: server, port }
    }

    pub fn reference(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }
}

/// A user and the bcrypt of the password.
const KNOWN: &str = "maria:$2b$04$O386u.yirriO7oyL3cI2huhS.wRN5zZkODcxnhfiX88/8wfVAWPb2\n";

/// Stands between a client and a server, counts what passes, breaks connections, changes bytes.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    stop: AtomicBool,
    /// Bytes in one direction after which a connection breaks; 0 for never.
    break_after: AtomicU64,
    /// Connections still to be broken.
    breaks_left: AtomicUsize,
    /// Requests to go on with an upload that still pass, and those after them that meet a broken connection.
    patches_pass: AtomicUsize,
    patches_break: AtomicUsize,
    broken: AtomicUsize,
    /// Bytes that went to the client.
    down: AtomicU64,
    /// Bytes that went to the server.
    up: AtomicU64,
    /// One byte in a body of at least this size is changed; 0 for none.
    change_at: AtomicU64,
}

impl Proxy {
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target: SocketAddr::from(([127, 0, 0, 1], target)),
            stop: AtomicBool::new(false),
            break_after: AtomicU64::new(0),
            breaks_left: AtomicUsize::new(0),
            patches_pass: AtomicUsize::new(0),
            patches_break: AtomicUsize::new(0),
            broken: AtomicUsize::new(0),
            down: AtomicU64::new(0),
            up: AtomicU64::new(0),
            change_at: AtomicU64::new(0),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { return };
                let shared = accepting.clone();
                thread::spawn(move || shared.pass(client));
            }
        });
        Self { port, shared }
    }

    pub fn reference(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }

    /// The next `times` connections that carry so many bytes break there.
    pub fn break_after(&self, bytes: u64, times: usize) {
        self.shared.break_after.store(bytes, Ordering::Relaxed);
        self.shared.breaks_left.store(times, Ordering::Relaxed);
    }

    /// After so many requests to go on with an upload, so many meet a broken connection before they begin.
    pub fn break_patches(&self, pass: usize, times: usize) {
        self.shared.patches_pass.store(pass, Ordering::Relaxed);
        self.shared.patches_break.store(times, Ordering::Relaxed);
    }

    /// Connections that were broken.
    pub fn broken(&self) -> usize {
        self.shared.broken.load(Ordering::Relaxed)
    }

    /// Bytes to the client and to the server, headers included.
    pub fn passed(&self) -> (u64, u64) {
        (self.shared.down.load(Ordering::Relaxed), self.shared.up.load(Ordering::Relaxed))
    }

    /// Changes the byte at this place of what one connection carries to the client.
    pub fn change_at(&self, at: u64) {
        self.shared.change_at.store(at, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn pass(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.target) else { return };
        let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let shared = self.clone();
        let up = thread::spawn(move || shared.copy(client_too, server_too, false));
        self.copy(server, client, true);
        let _ = up.join();
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, down: bool) {
        let mut buffer = vec![0; 16 << 10];
        let mut passed = 0_u64;
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let limit = self.break_after.load(Ordering::Relaxed);
            if limit > 0 && passed + count as u64 > limit && self.takes_a_break() {
                let _ = to.write_all(&buffer[..(limit.saturating_sub(passed)) as usize]);
                break;
            }
            if !down && buffer[..count].starts_with(b"PATCH ") && self.breaks_patch() {
                break;
            }
            let change = self.change_at.load(Ordering::Relaxed);
            if down && change > passed && change <= passed + count as u64 {
                buffer[(change - passed - 1) as usize] ^= 0x55;
            }
            passed += count as u64;
            let total = if down { &self.down } else { &self.up };
            total.fetch_add(count as u64, Ordering::Relaxed);
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn breaks_patch(&self) -> bool {
        !take_one(&self.patches_pass) && self.counts(take_one(&self.patches_break))
    }

    fn takes_a_break(&self) -> bool {
        self.counts(take_one(&self.breaks_left))
    }

    fn counts(&self, broken: bool) -> bool {
        if broken {
            self.broken.fetch_add(1, Ordering::Relaxed);
        }
        broken
    }
}

/// Whether one was left.
fn take_one(count: &AtomicUsize) -> bool {
    let less = |left: usize| left.checked_sub(1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
}
