//! One worker's HTTP requests.

use std::{convert::Infallible, future::Future, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, header::HOST};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    LoadPlan, Mode, Workers,
    recorder::{Recorder, RequestOutcome},
};

/// Markers are looked for in this much of a body: they stand near its beginning.
const SEARCHED_BYTES: usize = 64 << 10;
/// How often one request is sent again because the server had closed the idle connection before anything of it
/// was sent. A client may do that; it fails no request of its user.
const STALE_CONNECTIONS: u32 = 3;

type Body = Empty<Bytes>;

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// One worker's connection and what it asks for.
pub(crate) struct Client<'a> {
    plan: &'a LoadPlan,
    workers: &'a Workers,
    recorder: &'a Recorder,
    sender: Option<Sender>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(plan: &'a LoadPlan, workers: &'a Workers, recorder: &'a Recorder) -> Self {
        Self { plan, workers, recorder, sender: None }
    }

    /// Makes one request and reads its answer to the end.
    pub(crate) async fn request(&mut self) -> Result<RequestOutcome, String> {
        let limit = self.plan.timeout;
        let slow = self.workers.mode == Mode::Slow;
        let answer = timed(limit, "for an answer", self.send()).await?;
        let status = answer.status().as_u16();
        let read = read_body(answer.into_body(), limit, slow.then_some(self.workers.read_rate));
        // A slow body is bounded between its reads instead.
        let body = if slow { read.await } else { timed(limit, "for the body", read).await };
        if body.is_err() || matches!(self.workers.mode, Mode::NewConnection | Mode::Slow) {
            self.sender = None;
        }
        let body = body?;
        let marker = self.plan.marker.as_ref().and_then(|marker| marker.find(&body));
        Ok(RequestOutcome { status, marker: marker.map(str::to_owned) })
    }

    async fn send(&mut self) -> Result<Response<Incoming>, String> {
        for _ in 0..STALE_CONNECTIONS {
            let mut sender = match self.sender.take() {
                Some(sender) if sender.is_open() => sender,
                _ => self.connect().await?,
            };
            if sender.ready().await.is_err() {
                continue;
            }
            let sent = match &mut sender {
                Sender::Http1(sender) => sender.send_request(self.head()?).await,
                Sender::Http2(sender) => sender.send_request(self.head()?).await,
            };
            match sent {
                Ok(answer) => {
                    self.sender = Some(sender);
                    return Ok(answer);
                }
                // Cancelled: nothing of it was written.
                Err(error) if error.is_canceled() => {}
                Err(error) => return Err(chain("request", &error)),
            }
        }
        Err("the server closed every connection before the request was sent".to_owned())
    }

    async fn connect(&self) -> Result<Sender, String> {
        let stream = TcpStream::connect(self.plan.address)
            .await
            .map_err(|error| format!("connect: {error}"))?;
        let _ = stream.set_nodelay(true);
        self.recorder.connected(self.workers.mode);
        let io = TokioIo::new(stream);
        // A connection's own error shows in the request that it carries.
        Ok(if self.workers.mode == Mode::Http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(|error| chain("HTTP/2 handshake", &error))?;
            drive(async { drop(connection.await) });
            Sender::Http2(sender)
        } else {
            let (sender, connection) =
                http1::handshake(io).await.map_err(|error| chain("handshake", &error))?;
            drive(async { drop(connection.await) });
            Sender::Http1(sender)
        })
    }

    fn head(&self) -> Result<Request<Body>, String> {
        let (host, path) = (&self.plan.host, &self.workers.path);
        let request = if self.workers.mode == Mode::Http2 {
            Request::get(format!("http://{host}{path}"))
        } else {
            Request::get(path).header(HOST, host)
        };
        let request = match self.workers.mode {
            Mode::NewConnection | Mode::Slow => request.header("connection", "close"),
            _ => request,
        };
        request.body(Empty::new()).map_err(|error| format!("request: {error}"))
    }
}

impl Sender {
    fn is_open(&self) -> bool {
        match self {
            Self::Http1(sender) => !sender.is_closed(),
            Self::Http2(sender) => !sender.is_closed(),
        }
    }

    async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Self::Http1(sender) => sender.ready().await,
            Self::Http2(sender) => sender.ready().await,
        }
    }
}

fn drive(connection: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(connection);
}

/// Reads a body to its end, at `rate` bytes a second where given, and returns its beginning.
async fn read_body(
    mut body: Incoming,
    limit: Duration,
    rate: Option<u64>,
) -> Result<BytesMut, String> {
    let mut beginning = BytesMut::new();
    loop {
        // hyper reports a body that ends before its length or its last chunk.
        let frame = timed(limit, "for more of the body", async { Ok(body.frame().await) }).await?;
        let Some(frame) = frame else {
            return Ok(beginning);
        };
        let frame = frame.map_err(|error| chain("body", &error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let wanted = SEARCHED_BYTES.saturating_sub(beginning.len()).min(data.len());
        beginning.extend_from_slice(&data[..wanted]);
        if let Some(rate) = rate {
            sleep(Duration::from_secs_f64(data.len() as f64 / rate.max(1) as f64)).await;
        }
    }
}

async fn timed<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(format!("waited {} ms {what}", limit.as_millis())),
    }
}

/// An error with its causes on one line.
pub(crate) fn chain(what: &str, error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(source) = cause {
        text += &format!(": {source}");
        cause = source.source();
    }
    text
}

/// The upstream never fails by itself.
pub(crate) type Never = Infallible;
