//! WebSockets (RFC 6455) that are held open: every text that is sent must come back.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, protocol::Role},
};

use crate::{LoadPlan, client::chain};

/// A WebSocket of a worker.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// Opens a WebSocket.
pub(crate) async fn open(plan: &LoadPlan, path: &str) -> Result<Socket, String> {
    let work = async {
        let stream = TcpStream::connect(plan.address).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = client_async(format!("ws://{}{path}", plan.host), stream).await?;
        Ok::<_, Error>(socket)
    };
    match timeout(plan.timeout, work).await {
        Ok(result) => result.map_err(|error| chain("WebSocket handshake", &error)),
        Err(_) => Err("WebSocket handshake: no answer in time".to_owned()),
    }
}

/// Sends `text` and waits until it comes back. A closed WebSocket is an error: the message was not echoed.
pub(crate) async fn echo(socket: &mut Socket, text: &str, limit: Duration) -> Result<(), String> {
    let failed = |error| chain("WebSocket message", &error);
    let work = async {
        socket.send(Message::text(text)).await.map_err(failed)?;
        while let Some(message) = socket.next().await {
            match message.map_err(failed)? {
                Message::Text(found) if found.as_str() == text => return Ok(()),
                Message::Text(_) | Message::Binary(_) => {
                    return Err("WebSocket message: another one came back".to_owned());
                }
                // The socket answers what asks for an answer; after a close it has no next message.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
            }
        }
        Err("WebSocket message: the server closed it".to_owned())
    };
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err("WebSocket message: no echo in time".to_owned()),
    }
}

/// Says goodbye; the server may close at its leisure.
pub(crate) async fn close(socket: &mut Socket) -> Result<(), String> {
    socket.close(None).await.map_err(|error| chain("WebSocket close", &error))
}

/// Sends back every message, until the client closes.
pub(crate) async fn serve_echo(upgraded: Upgraded) -> Result<(), Error> {
    let io = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
