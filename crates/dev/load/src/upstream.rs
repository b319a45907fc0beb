//! The reference upstream: a small server whose answers a load can check, for tests, soak and bench.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpStream, sync::Notify, time::sleep};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{
    client::{Never, chain},
    websocket,
};

/// Largest answer that `/stream` makes: enough to outlast every buffer between it and a slow reader.
const MAX_STREAM_BYTES: u64 = 1 << 30;
/// Longest wait that a request may ask for.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// `/stream` makes its answer in pieces of this size.
const PIECE_BYTES: u64 = 8 << 10;

/// How the upstream answers.
#[derive(Debug, Clone, Default)]
pub struct UpstreamOptions {
    /// Stands in every page as `<!--release:MARKER-->`.
    pub marker: String,
    /// Until this long after its start `/health` answers 503; none means healthy at once.
    pub healthy_after: Option<Duration>,
    /// From this long after its start every request is answered with 500.
    pub failing_after: Option<Duration>,
    /// `host:port` that `/via` asks for `/` and whose answer it passes on.
    pub backend: Option<String>,
}

/// A reference upstream that runs on a thread of its own until it is dropped.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    options: UpstreamOptions,
    began: Instant,
    failing: AtomicBool,
    stop: Notify,
}

type Answer = Response<BoxBody<Bytes, Never>>;

impl Upstream {
    /// Starts a server on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// Where it can't listen there.
    pub fn start(address: SocketAddr, options: UpstreamOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            began: Instant::now(),
            failing: AtomicBool::new(false),
            stop: Notify::new(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("upstream".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || runtime.block_on(serve(listener, shared))
        })?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on answers everything with 500, or again as it should.
    pub fn set_failing(&self, failing: bool) {
        self.shared.failing.store(failing, Ordering::SeqCst);
    }

    /// Serves until the process ends.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed by its thread.
            let _ = thread.join();
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Kept for the server in case it is not waiting yet. Its connections end with its runtime.
        self.shared.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("upstream: cannot listen: {error}"),
    };
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, mostly: wait for some connection to end.
                    eprintln!("upstream: cannot accept: {error}");
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
            () = shared.stop.notified() => return,
        };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Never>(shared.answer(request).await) }
            });
            // Clients may go whenever they like.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let past =
            |after: Option<Duration>| after.is_some_and(|after| self.began.elapsed() >= after);
        if self.failing.load(Ordering::SeqCst) || past(self.options.failing_after) {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "told to fail\n".to_owned());
        }
        let query = Query::of(&request);
        match request.uri().path() {
            "/" => self.page(),
            "/health"
                if self.options.healthy_after.is_some_and(|after| self.began.elapsed() < after) =>
            {
                text(StatusCode::SERVICE_UNAVAILABLE, "not yet\n".to_owned())
            }
            "/health" => text(StatusCode::OK, "healthy\n".to_owned()),
            "/wait" => {
                sleep(query.wait()).await;
                self.page()
            }
            "/stream" => stream(query.bytes(), query.wait()),
            "/post" if request.method() == Method::POST => count(request).await,
            "/via" => self.via().await,
            "/echo" => upgrade(request),
            "/crash" => std::process::exit(3),
            path => text(StatusCode::NOT_FOUND, format!("no `{path}` here\n")),
        }
    }

    fn page(&self) -> Answer {
        let marker = &self.options.marker;
        text(StatusCode::OK, format!("<!doctype html><!--release:{marker}--><p>{marker}</p>\n"))
    }

    async fn via(&self) -> Answer {
        match &self.options.backend {
            None => text(StatusCode::NOT_FOUND, "no backend was given\n".to_owned()),
            Some(backend) => match fetch(backend).await {
                Ok(body) => text(StatusCode::OK, body),
                Err(reason) => text(StatusCode::BAD_GATEWAY, format!("{backend}: {reason}\n")),
            },
        }
    }
}

struct Query(HashMap<String, u64>);

impl Query {
    fn of(request: &Request<Incoming>) -> Self {
        let pairs = request.uri().query().unwrap_or_default().split('&');
        Self(
            pairs
                .filter_map(|pair| pair.split_once('='))
                .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
                .collect(),
        )
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.0.get("ms").copied().unwrap_or_default()).min(MAX_WAIT)
    }

    fn bytes(&self) -> u64 {
        self.0.get("bytes").copied().unwrap_or_default().min(MAX_STREAM_BYTES)
    }
}

/// `bytes` bytes, spread over `over`, chunked.
fn stream(bytes: u64, over: Duration) -> Answer {
    let pieces = bytes.div_ceil(PIECE_BYTES).max(1);
    let pause = over / u32::try_from(pieces).unwrap_or(u32::MAX);
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, Never>::new(1);
    tokio::spawn(async move {
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(PIECE_BYTES);
            if !pause.is_zero() {
                sleep(pause).await;
            }
            // The reader is gone: nothing more to do.
            if sender.send_data(Bytes::from(vec![b'.'; piece as usize])).await.is_err() {
                return;
            }
            left -= piece;
        }
    });
    Response::new(body.boxed())
}

async fn count(request: Request<Incoming>) -> Answer {
    let mut body = request.into_body();
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Err(error) => return text(StatusCode::BAD_REQUEST, chain("body", &error)),
        }
    }
    text(StatusCode::OK, format!("{bytes}\n"))
}

async fn fetch(backend: &str) -> Result<String, String> {
    // The name is looked up for every request: it must go on to work while what it names is replaced.
    let stream = TcpStream::connect(backend).await.map_err(|error| chain("connect", &error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| chain("handshake", &error))?;
    tokio::spawn(connection);
    let request = Request::get("/").header(header::HOST, backend).body(Full::<Bytes>::default());
    let request = request.map_err(|error| chain("request", &error))?;
    let answer = sender.send_request(request).await.map_err(|error| chain("request", &error))?;
    let status = answer.status();
    let body = http_body_util::Limited::new(answer.into_body(), 1 << 20);
    let body = body.collect().await.map_err(|error| format!("body: {error}"))?.to_bytes();
    if !status.is_success() {
        return Err(format!("status {}", status.as_u16()));
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn upgrade(mut request: Request<Incoming>) -> Answer {
    let key = request.headers().get("sec-websocket-key");
    let Some(accept) = key.map(|key| derive_accept_key(key.as_bytes())) else {
        return text(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket\n".to_owned());
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            // Ends with the connection.
            let _ = websocket::serve_echo(upgraded).await;
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header("sec-websocket-accept", accept)
        .body(Full::default().boxed())
        .unwrap_or_else(|error| text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body).boxed());
    *answer.status_mut() = status;
    answer
}
