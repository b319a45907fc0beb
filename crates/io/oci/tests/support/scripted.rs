//! A server on this machine's loopback that answers as a test says, to show what registries may do wrong.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// What came, as far as tests look at it.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub authorization: Option<String>,
    pub body_bytes: usize,
}

/// What becomes of a request; said before its body is read.
pub enum Reply {
    /// Status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The connection ends in the midst of the body.
    Break,
    /// Nothing more is read, nor is anything answered.
    Silence,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), String::new())
    }
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

pub struct Scripted {
    pub port: u16,
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Scripted {
    pub fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script: Arc<Script> = Arc::new(script);
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (stopped, seen) = (stop.clone(), requests.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { return };
                let (script, stopped, seen) = (script.clone(), stopped.clone(), seen.clone());
                thread::spawn(move || serve(client, &*script, &stopped, &seen));
            }
        });
        Self { port, stop, requests }
    }

    pub fn reference(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(client: TcpStream, script: &Script, stop: &AtomicBool, seen: &Mutex<Vec<Request>>) {
    let Ok(mut out) = client.try_clone() else { return };
    let mut reader = BufReader::new(client);
    while let Some(request) = head(&mut reader) {
        seen.lock().unwrap().push(request.clone());
        let mut body = reader.by_ref().take(request.body_bytes as u64);
        match script(&request) {
            Reply::Break => {
                let _ = body.read(&mut [0; 1000]);
                return;
            }
            Reply::Silence => {
                while !stop.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                }
                return;
            }
            Reply::Answer(status, headers, text) => {
                if std::io::copy(&mut body, &mut std::io::sink()).is_err() {
                    return;
                }
                let mut answer = format!("HTTP/1.1 {status} Said\r\n");
                for (name, value) in headers {
                    answer.push_str(&format!("{name}: {value}\r\n"));
                }
                answer.push_str(&format!("Content-Length: {}\r\n\r\n", text.len()));
                if request.method != "HEAD" {
                    answer.push_str(&text);
                }
                if out.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        }
    }
}

fn head(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        let count = reader.read_line(&mut line).ok()?;
        (count > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = Request {
        method: words.next()?,
        target: words.next()?,
        authorization: None,
        body_bytes: 0,
    };
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(": ") else { return Some(request) };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => request.authorization = Some(value.to_owned()),
            "content-length" => request.body_bytes = value.parse().ok()?,
            _ => {}
        }
    }
}
