//! A server that speaks HTTP/2 without TLS and nothing else, and answers as gRPC servers do.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, Request, Response};

/// A server on a thread of its own.
pub struct H2cBackend {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
}

impl H2cBackend {
    pub fn start() -> Self {
        Self::with(h2::server::Builder::new())
    }

    /// One that opens WebSockets on streams, and sends back what comes on them.
    pub fn with_websockets() -> Self {
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        Self::with(builder)
    }

    fn with(builder: h2::server::Builder) -> Self {
        let listener = std::net::TcpListener::bind(super::address()).unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(builder.clone(), stream, count.clone()));
                }
            });
        });
        Self { address, connections }
    }
}

async fn serve(
    builder: h2::server::Builder,
    stream: tokio::net::TcpStream,
    connections: Arc<AtomicUsize>,
) {
    // A health check connects and says nothing.
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    connections.fetch_add(1, Ordering::SeqCst);
    while let Some(Ok((request, respond))) = connection.accept().await {
        match request.uri().path() {
            "/last" => {
                connection.graceful_shutdown();
                tokio::spawn(answer(request, respond));
            }
            "/break" => return,
            _ => drop(tokio::spawn(answer(request, respond))),
        }
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, mut body) = request.into_parts();
    let head = Response::builder().header("content-type", "application/grpc");
    let path = parts.uri.path();
    if let Some(protocol) = parts.extensions.get::<h2::ext::Protocol>() {
        assert_eq!((protocol.as_str(), parts.method.as_str()), ("websocket", "CONNECT"));
        assert!(!parts.headers.contains_key("sec-websocket-key"));
        let status = if path == "/decline" { 403 } else { 200 };
        let head = Response::builder().status(status).header("sec-websocket-protocol", "chat");
        let mut stream = respond.send_response(head.body(()).unwrap(), status == 403).unwrap();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            send(&mut stream, data).await;
        }
        return drop(stream.send_data(Bytes::new(), true));
    }
    match path {
        "/refuse" => {
            let head = head.header("grpc-status", "12").body(()).unwrap();
            respond.send_response(head, true).unwrap();
        }
        "/length" => {
            let head = head.header("content-length", "5").body(()).unwrap();
            let is_head = parts.method == "HEAD";
            let mut stream = respond.send_response(head, is_head).unwrap();
            if !is_head {
                send(&mut stream, Bytes::from_static(b"hello")).await;
                drop(stream.send_data(Bytes::new(), true));
            }
        }
        "/head" => {
            let mut seen = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
            for (name, value) in &parts.headers {
                seen.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
            }
            let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
            send(&mut stream, Bytes::from(seen)).await;
            drop(stream.send_data(Bytes::new(), true));
        }
        "/early" => {
            let hint = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
            respond.send_informational(hint).unwrap();
            respond.send_response(head.body(()).unwrap(), true).unwrap();
        }
        "/reset" => respond.send_reset(h2::Reason::INTERNAL_ERROR),
        _ => {
            let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                send(&mut stream, data).await;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            for (name, value) in body.trailers().await.unwrap_or_default().iter().flatten() {
                trailers.insert(name, value.clone());
            }
            drop(stream.send_trailers(trailers));
        }
    }
}

/// Sends as the other side takes it.
pub async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let Some(Ok(room)) = room else { return };
        let piece = data.split_to(room.min(data.len()));
        if stream.send_data(piece, false).is_err() {
            return;
        }
    }
}
