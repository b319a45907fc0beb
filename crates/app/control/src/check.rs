//! Asks a server by one check of an image's tests; the edge has its own prober for health contracts.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hornero_model::{Check, HttpCheck};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How much of a body `contains` looks at; as the model says.
const BODY_BYTES: usize = 64 << 10;

/// Asks once; the error says what was seen instead.
pub async fn ask(check: &Check, address: IpAddr, timeout: Duration) -> Result<(), String> {
    let asked = async {
        match check {
            Check::Tcp(tcp) => connect(address, tcp.port).await.map(drop),
            Check::Http(http) => ask_http(http, address).await,
        }
    };
    tokio::time::timeout(timeout, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} ms", timeout.as_millis())))
}

async fn connect(address: IpAddr, port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(SocketAddr::new(address, port)).await;
    stream.map_err(|error| format!("port {port}: {error}"))
}

async fn ask_http(check: &HttpCheck, address: IpAddr) -> Result<(), String> {
    let stream = connect(address, check.port).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driven = tokio::spawn(connection);
    let request = Request::get(&check.path)
        .header("host", format!("{address}:{}", check.port))
        .header("user-agent", "hornero-test")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("path `{}`: {error}", check.path))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| format!("GET {}: {error}", check.path))?;
    let status = answer.status().as_u16();
    let expected = check.status.map_or((200..400).contains(&status), |expected| expected == status);
    if !expected {
        driven.abort();
        let wanted =
            check.status.map_or_else(|| "200 to 399".to_owned(), |expected| expected.to_string());
        return Err(format!("GET {} answered {status}, expected {wanted}", check.path));
    }
    if let Some(text) = &check.contains {
        let body = Limited::new(answer.into_body(), BODY_BYTES).collect().await;
        let body = body.map_err(|error| format!("GET {}: {error}", check.path))?.to_bytes();
        if !String::from_utf8_lossy(&body).contains(text.as_str()) {
            driven.abort();
            return Err(format!("GET {} does not contain `{text}`", check.path));
        }
    }
    driven.abort();
    Ok(())
}
