//! A web server on loopback that serves a directory and can be told to misbehave.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How paths with a certain ending are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// With this status and nothing else, so many times.
    Status(u16, u32),
    /// Never, until the server ends.
    Hang,
    /// With the connection broken after so many bytes, so many times.
    BreakAfter(usize, u32),
    /// With one byte changed.
    Lie,
    /// Whole, whatever range was asked for.
    IgnoreRange,
}

struct Shared {
    root: PathBuf,
    manners: Mutex<BTreeMap<String, Manner>>,
    requests: Mutex<Vec<String>>,
    ended: AtomicBool,
}

/// The server; it ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves a directory on a port of its own.
    pub fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            manners: Mutex::default(),
            requests: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let serving = shared.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, stream) = (serving.clone(), stream.unwrap());
                std::thread::spawn(move || shared.connection(stream));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Says how paths with this ending are answered from now on.
    pub fn set(&self, ending: &str, manner: Manner) {
        self.shared.manners.lock().unwrap().insert(ending.to_owned(), manner);
    }

    /// Every path that was asked for, with where a part of it began.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

impl Shared {
    fn connection(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        loop {
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if !reader.read_line(&mut line).is_ok_and(|count| count > 0) {
                    return;
                }
                if line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_owned());
            }
            let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else { return };
            let range = lines.iter().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let value = value.trim().strip_prefix("bytes=")?.strip_suffix('-')?;
                name.eq_ignore_ascii_case("range").then(|| value.parse().ok())?
            });
            if !self.answer(&mut stream, path, range) {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
    }

    /// The manner for a path, counted down where it is limited.
    fn manner(&self, path: &str) -> Option<Manner> {
        let mut manners = self.manners.lock().unwrap();
        let (_, manner) = manners.iter_mut().find(|(ending, _)| path.ends_with(ending.as_str()))?;
        let now = *manner;
        match manner {
            Manner::Status(_, left) | Manner::BreakAfter(_, left) => {
                if *left == 0 {
                    return None;
                }
                *left -= 1;
            }
            Manner::Hang | Manner::Lie | Manner::IgnoreRange => {}
        }
        Some(now)
    }

    fn answer(&self, stream: &mut TcpStream, path: &str, range: Option<usize>) -> bool {
        let range_text = range.map_or(String::new(), |from| format!(" from {from}"));
        self.requests.lock().unwrap().push(format!("{path}{range_text}"));
        let manner = self.manner(path);
        if let Some(Manner::Status(status, _)) = manner {
            return write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n").is_ok();
        }
        if manner == Some(Manner::Hang) {
            while !self.ended.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            return false;
        }
        let decoded = decoded(path);
        let Ok(mut body) = fs::read(self.root.join(decoded.trim_start_matches('/'))) else {
            return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").is_ok();
        };
        if manner == Some(Manner::Lie) {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
        let from = range.filter(|_| manner != Some(Manner::IgnoreRange));
        let (status, body) = match from {
            Some(from) => ("206 Partial Content", &body[from.min(body.len())..]),
            None => ("200 OK", &body[..]),
        };
        if write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).is_err() {
            return false;
        }
        if let Some(Manner::BreakAfter(count, _)) = manner {
            let _ = stream.write_all(&body[..count.min(body.len())]);
            return false;
        }
        stream.write_all(body).is_ok()
    }
}

/// A path without percent-encoding.
fn decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}
