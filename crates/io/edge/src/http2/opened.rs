//! A WebSocket that a client of HTTP/2 asked for, once the server has agreed to it (RFC 8441).

use std::{future::poll_fn, rc::Rc};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{Response, StatusCode};

use super::{answer::Reading, shared::Active, websocket::Bidirectional};
use crate::{
    buffer::Buffer,
    counters::Ticket,
    slots::SlotGuard,
    stream::Stream as _,
    tunnel::{Silence, TunnelEnd, tunnel},
    websocket::WebSocket,
    worker::Worker,
};

/// A WebSocket that the server has agreed to.
pub(super) struct Opened {
    pub(super) reading: Reading,
    pub(super) answer: Response<()>,
    pub(super) received: RecvStream,
    pub(super) ticket: Ticket,
    pub(super) slot: SlotGuard,
    pub(super) worker: Rc<Worker>,
    pub(super) _active: Active,
}

impl Opened {
    /// Serves it to its end.
    pub(super) async fn serve(mut self, mut respond: SendResponse<Bytes>) {
        // The client may have gone meanwhile.
        let Ok(sending) = respond.send_response(self.answer, false) else { return };
        let client = Bidirectional::new(self.received, sending);
        let (mut input, output) = (Buffer::default(), &mut self.reading.input);
        let socket = Some(WebSocket::default());
        let link = &*self.reading.link;
        let limit = self.worker.limits.tunnel_timeout;
        let silence = Silence { clock: &self.worker.clock, slot: &self.slot, limit };
        let end = tunnel(&silence, &client, &mut input, link, output, socket).await;
        match end {
            TunnelEnd::Done | TunnelEnd::Silent => {}
            TunnelEnd::BackendBroke => self.ticket.fail(),
            TunnelEnd::Cut { told } => {
                self.ticket.fail();
                match told {
                    true => drop(poll_fn(|context| client.poll_close(context)).await),
                    false => client.reset(),
                }
            }
        }
        self.slot.end();
    }
}

/// The server's agreement as HTTP/2 says it: 200, without what belongs to the handshake of HTTP/1.1 (RFC 8441, 5).
pub(super) fn as_connected(mut answer: Response<()>) -> Response<()> {
    *answer.status_mut() = StatusCode::OK;
    answer.headers_mut().remove("sec-websocket-accept");
    answer
}
