//! Backends: an ordinary one on hyper, and odd ones that do what a closure says with each connection.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
};

use super::address;

/// A server on a thread of its own.
pub struct Backend {
    pub address: SocketAddr,
    pub healthy: Arc<AtomicBool>,
    /// Requests but for those of health checks.
    pub requests: Arc<AtomicUsize>,
    /// Connections that carried such requests and are open.
    pub connections: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

type Body = BoxBody<Bytes, Infallible>;

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

impl Backend {
    /// An ordinary server that answers with `name`; its paths are those of `answer`.
    pub fn start(name: &str) -> Self {
        Self::start_at(address(), name)
    }

    pub fn start_at(address: SocketAddr, name: &str) -> Self {
        let healthy = Arc::new(AtomicBool::new(true));
        let requests = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = oneshot::channel();
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let server = Server {
            name: name.to_owned(),
            healthy: healthy.clone(),
            requests: requests.clone(),
            connections: connections.clone(),
        };
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = server.run(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, healthy, requests, connections, stop: Some(stop), thread: Some(thread) }
    }

    pub fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::SeqCst);
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Server {
    name: String,
    healthy: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    async fn run(self, listener: tokio::net::TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let server = self.clone();
            let counted = Arc::new(std::sync::OnceLock::new());
            let service = service_fn(move |request| {
                let (server, counted) = (server.clone(), counted.clone());
                async move { Ok::<_, Infallible>(server.answer(request, &counted).await) }
            });
            tokio::spawn(async move {
                // A connection that the edge breaks is its affair.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await;
            });
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        counted: &std::sync::OnceLock<Counted>,
    ) -> Response<Body> {
        if request.uri().path() == "/health" {
            let healthy = self.healthy.load(Ordering::SeqCst);
            let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            return Response::builder().status(status).body(full("health")).unwrap();
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        counted.get_or_init(|| {
            self.connections.fetch_add(1, Ordering::SeqCst);
            Counted(self.connections.clone())
        });
        match request.uri().path() {
            "/echo" => echo(request).await,
            "/head" => Response::new(full(describe(&request))),
            "/slow" => slow(self.name.clone(), number(&request)),
            "/big" => Response::new(big(number(&request))),
            "/status" => Response::builder()
                .status(u16::try_from(number(&request)).unwrap())
                .body(full(""))
                .unwrap(),
            "/wait" => {
                tokio::time::sleep(Duration::from_millis(number(&request) as u64)).await;
                Response::new(full(self.name.clone()))
            }
            "/ws" => upgrade(request),
            _ => Response::builder()
                .header("x-method", request.method().as_str())
                .body(full(self.name.clone()))
                .unwrap(),
        }
    }
}

fn number(request: &Request<Incoming>) -> usize {
    request.uri().query().and_then(|query| query.parse().ok()).unwrap_or(0)
}

fn describe(request: &Request<Incoming>) -> String {
    let mut text = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    text
}

/// Sends the body back as it comes, chunked, with its trailers.
async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (send, receive) = mpsc::channel::<Frame<Bytes>>(4);
    let mut body = request.into_body();
    tokio::spawn(async move {
        while let Some(Ok(frame)) = body.frame().await {
            if send.send(frame).await.is_err() {
                return;
            }
        }
    });
    Response::builder().header(header::TRAILER, "x-sum").body(stream(receive)).unwrap()
}

fn stream(receive: mpsc::Receiver<Frame<Bytes>>) -> Body {
    let frames = futures_stream(receive);
    BodyExt::boxed(StreamBody::new(frames))
}

fn futures_stream(
    receive: mpsc::Receiver<Frame<Bytes>>,
) -> impl futures_core::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    Frames(std::sync::Mutex::new(receive))
}

struct Frames(std::sync::Mutex<mpsc::Receiver<Frame<Bytes>>>);

impl futures_core::Stream for Frames {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.lock().unwrap().poll_recv(context).map(|frame| frame.map(Ok))
    }
}

/// A part every 50 ms, as many as asked for.
fn slow(name: String, parts: usize) -> Response<Body> {
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(async move {
        for part in 0..parts {
            let data = Frame::data(Bytes::from(format!("{name}-{part};")));
            if send.send(data).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", parts.to_string().parse().unwrap());
        let _ = send.send(Frame::trailers(trailers)).await;
    });
    Response::builder().header(header::TRAILER, "x-sum").body(stream(receive)).unwrap()
}

fn big(size: usize) -> Body {
    full(vec![b'x'; size])
}

fn upgrade(request: Request<Incoming>) -> Response<Body> {
    if request.method() != Method::GET || request.headers().get(header::UPGRADE).is_none() {
        return Response::builder().status(400).body(full("no upgrade")).unwrap();
    }
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let mut stream = TokioIo::new(upgraded);
        let mut bytes = [0; 4096];
        while let Ok(count) = stream.read(&mut bytes).await {
            if count == 0 || stream.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .body(full(""))
        .unwrap()
}

/// A server that gives each connection, with its number from 0, to `serve` on a thread of its own.
///
/// Checked over TCP, it must bear connections that say nothing.
pub fn odd(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let address = address();
    odd_at(address, serve);
    address
}

pub fn odd_at(address: SocketAddr, serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) {
    let listener = TcpListener::bind(address).unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (Ok(stream), serve) = (stream, serve.clone()) else { return };
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            std::thread::spawn(move || serve(number, stream));
        }
    });
}
