//! A mirror on loopback that passes requests on to this machine's own mirror of Debian, as it was before some pocket.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use hornero_model::Digest;

/// Indices and packages of a test are smaller; a mirror that sends more is not one.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// How often the machine's own mirror is asked for a file.
const TRIES: usize = 3;

struct Shared {
    /// The suite's own address, and that of its security pocket where it has another.
    main: String,
    security: Option<String>,
    hidden: Mutex<Vec<String>>,
    kept: Mutex<Option<PathBuf>>,
    ended: AtomicBool,
}

/// The mirror; it ends when it is dropped. `URL/debian` is the suite's, `URL/debian-security` its security pocket's.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// A mirror of what this machine's apt sources have for a suite.
    ///
    /// # Panics
    /// Panics where the sources have no such suite.
    pub fn of_host(suite: &str) -> Self {
        let sources = host_sources();
        let find = |wanted: &str| {
            let mut found =
                sources.iter().filter(|(_, suites)| suites.iter().any(|one| one == wanted));
            found.next().map(|(uri, _)| uri.trim_end_matches('/').to_owned())
        };
        let main =
            find(suite).unwrap_or_else(|| panic!("no apt source of `{suite}` on this machine"));
        let security = find(&format!("{suite}-security"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            main,
            security,
            hidden: Mutex::default(),
            kept: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, stream) = (Arc::clone(&serving), stream.unwrap());
                // A client that breaks off is its own affair.
                std::thread::spawn(move || drop(shared.connection(&stream)));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// The address of the suite.
    pub fn url(&self) -> String {
        format!("http://{}/debian", self.address)
    }

    /// Answers 404 from now on to every path with one of these words in it; no words hide nothing.
    pub fn hide(&self, words: &[&str]) {
        *self.shared.hidden.lock().unwrap() = words.iter().map(|word| (*word).to_owned()).collect();
    }
}

impl Relay {
    /// Keeps every file in a directory from now on, and asks for none a second time.
    pub fn keep_in(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        *self.shared.kept.lock().unwrap() = Some(dir.to_owned());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

impl Shared {
    fn connection(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut request, mut line) = (String::new(), String::new());
        reader.read_line(&mut request)?;
        while reader.read_line(&mut line)? > 0 && !line.trim().is_empty() {
            line.clear();
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match self.fetch(path) {
            Fetched::Whole(body) => ("200 OK", body),
            Fetched::Missing => ("404 Not Found", Vec::new()),
            Fetched::NotNow => ("503 Service Unavailable", Vec::new()),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )?;
        stream.write_all(&body)
    }

    fn fetch(&self, path: &str) -> Fetched {
        if self.hidden.lock().unwrap().iter().any(|word| path.contains(word.as_str())) {
            return Fetched::Missing;
        }
        let kept = self.kept.lock().unwrap().clone();
        let Some(dir) = kept else { return self.ask(path) };
        let file = dir.join(Digest::of(path.as_bytes()).hex());
        if let Ok(body) = fs::read(&file) {
            return Fetched::Whole(body);
        }
        let fetched = self.ask(path);
        if let Fetched::Whole(body) = &fetched {
            let part = file.with_extension(format!("{:?}", std::thread::current().id()));
            fs::write(&part, body).unwrap();
            fs::rename(part, file).unwrap();
        }
        fetched
    }

    fn ask(&self, path: &str) -> Fetched {
        let address = if let Some(rest) = path.strip_prefix("/debian-security/") {
            self.security.as_ref().map(|security| format!("{security}/{rest}"))
        } else {
            path.strip_prefix("/debian/").map(|rest| format!("{}/{rest}", self.main))
        };
        let Some(address) = address else { return Fetched::Missing };
        for _ in 0..TRIES {
            match ureq::get(&address).call() {
                Ok(answer) => {
                    let mut body = Vec::new();
                    let mut reader = answer.into_body().into_reader().take(FILE_BYTES_MAX);
                    if reader.read_to_end(&mut body).is_ok() {
                        return Fetched::Whole(body);
                    }
                }
                Err(ureq::Error::StatusCode(404 | 410)) => return Fetched::Missing,
                Err(_) => (),
            }
        }
        Fetched::NotNow
    }
}

/// What became of a request to the machine's own mirror. A mirror that fails for a moment lacks nothing: whoever asks
/// here is to ask again, as he would there.
enum Fetched {
    Whole(Vec<u8>),
    Missing,
    NotNow,
}

/// Every address of this machine's apt sources with its suites, from one-line and deb822 files.
fn host_sources() -> Vec<(String, Vec<String>)> {
    let dir = Path::new("/etc/apt");
    let mut files = vec![dir.join("sources.list")];
    if let Ok(entries) = fs::read_dir(dir.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let texts = files.iter().filter_map(|path| fs::read_to_string(path).ok());
    let mut found = Vec::new();
    for text in texts {
        for stanza in text.split("\n\n") {
            let value = |name: &str| {
                let line = stanza.lines().find_map(|line| line.strip_prefix(name))?;
                Some(line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            };
            if let (Some(uris), Some(suites)) = (value("URIs:"), value("Suites:")) {
                found.extend(uris.into_iter().map(|uri| (uri, suites.clone())));
            }
        }
        for line in text.lines().filter_map(|line| line.strip_prefix("deb ")) {
            let line = line.trim_start();
            let line = line
                .strip_prefix('[')
                .map_or(line, |rest| rest.split_once(']').map_or("", |(_, rest)| rest));
            let mut words = line.split_whitespace().map(str::to_owned);
            if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
                found.push((uri, vec![suite]));
            }
        }
    }
    found
}
