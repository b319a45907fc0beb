//! What the process is doing, told to the service manager (sd_notify(3)) and to whoever waits for the start.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use hornero_home::Opening;

/// How long the service manager is asked to wait for the next news of a start.
const START_EXTENSION: Duration = Duration::from_secs(60);
/// Between two news of one long step; a person reads no faster.
const NEWS_INTERVAL: Duration = Duration::from_millis(200);

/// The file in a home that says what its control process does before its socket answers: its process id, a space, and
/// one line of text. It is gone once the socket answers.
pub fn status_file(home: &Path) -> PathBuf {
    home.join("control.status")
}

/// Where the news go.
#[derive(Debug)]
pub struct Notifier {
    /// The service manager's socket, where there is one.
    manager: Option<(UnixDatagram, SocketAddr)>,
    /// The manager expects a sign of life this often.
    watchdog: Option<Duration>,
    status_file: PathBuf,
    told: Mutex<Option<Instant>>,
}

impl Notifier {
    /// The notifier that the environment describes: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. A socket that
    /// can't be used is as none: the service manager then says so by its own time limit.
    pub fn from_environment(home: &Path) -> Self {
        let manager = env::var_os("NOTIFY_SOCKET")
            .and_then(|name| Some((UnixDatagram::unbound().ok()?, socket_address(&name).ok()?)));
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| meant && *usec > 0);
        Self {
            manager,
            watchdog: watchdog.map(Duration::from_micros),
            status_file: status_file(home),
            told: Mutex::new(None),
        }
    }

    /// How often [`Notifier::alive`] is to be called; a third of what the manager allows, so that one late call is no end.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|allowed| (allowed / 3).max(Duration::from_millis(1)))
    }

    /// The start goes on, with this step. Asks the manager for more time.
    pub fn starting(&self, step: &str) {
        *self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
        let extension = START_EXTENSION.as_micros();
        self.send(&format!("STATUS=starting: {step}\nEXTEND_TIMEOUT_USEC={extension}"));
        // Only for whoever waits; a disk that takes nothing shows in what comes next.
        let text = format!("{} {step}\n", std::process::id());
        let _ = hornero_home::open(&self.status_file, Opening::Replace)
            .and_then(|mut file| file.write_all(text.as_bytes()));
    }

    /// As [`Notifier::starting`], for steps that have much news: most of it is not told.
    pub fn still_starting(&self, step: impl FnOnce() -> String) {
        let due = self
            .told
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .is_none_or(|at| at.elapsed() >= NEWS_INTERVAL);
        if due {
            self.starting(&step());
        }
    }

    /// The process answers.
    pub fn ready(&self, status: &str) {
        let _ = fs::remove_file(&self.status_file);
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// What it does now.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    /// The thread that calls this is not stuck.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The process ends.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}"));
    }

    fn send(&self, message: &str) {
        if let Some((socket, manager)) = &self.manager {
            // A manager that is gone or busy learns it by the next message or by its own time limit.
            let _ = socket.send_to_addr(message.as_bytes(), manager);
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        // After a start that failed nobody waits any more.
        let own = format!("{} ", std::process::id());
        if fs::read_to_string(&self.status_file).is_ok_and(|text| text.starts_with(&own)) {
            let _ = fs::remove_file(&self.status_file);
        }
    }
}

/// The address of `NOTIFY_SOCKET`: a path, or an abstract name behind `@`. Other kinds, such as `vsock:`, are the host
/// machine's and not ours to talk to.
fn socket_address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notifier(home: &Path, name: &OsStr) -> Notifier {
        let manager = (UnixDatagram::unbound().unwrap(), socket_address(name).unwrap());
        let told = Mutex::new(None);
        Notifier {
            manager: Some(manager),
            watchdog: Some(Duration::from_secs(3)),
            status_file: status_file(home),
            told,
        }
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn news_reach_sockets_with_a_path_and_abstract_ones() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify.sock");
        let abstract_name = format!("hornero-notify-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_address).unwrap(),
                format!("@{abstract_name}").into(),
            ),
        ];
        for (socket, name) in sockets {
            let notifier = notifier(home.path(), &name);
            notifier.starting("reading the ledger");
            assert_eq!(
                received(&socket),
                "STATUS=starting: reading the ledger\nEXTEND_TIMEOUT_USEC=60000000"
            );
            let status = fs::read_to_string(status_file(home.path())).unwrap();
            assert_eq!(status, format!("{} reading the ledger\n", std::process::id()));
            notifier.still_starting(|| unreachable!("it was told a moment ago"));
            notifier.ready("nothing runs");
            assert_eq!(received(&socket), "READY=1\nSTATUS=nothing runs");
            assert!(!status_file(home.path()).exists(), "nobody waits any more");
            notifier.alive();
            assert_eq!(received(&socket), "WATCHDOG=1");
            notifier.stopping("servers go on");
            assert_eq!(received(&socket), "STOPPING=1\nSTATUS=servers go on");
            assert_eq!(notifier.watchdog_interval(), Some(Duration::from_secs(1)));
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for name in ["", "vsock:2:1234", "relative/path"] {
            assert!(socket_address(OsStr::new(name)).is_err(), "{name}");
        }
    }
}
