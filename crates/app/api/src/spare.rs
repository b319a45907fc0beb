//! A connection from which a whole answer was read, for the request that follows at once.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{body::Bytes, client::conn::http1::SendRequest};

/// What requests are sent with on one connection.
pub(crate) type RequestSender = SendRequest<Full<Bytes>>;

/// For so long it is kept: a command that looks whether control answers asks it for something next. Later whoever listens may be
/// another one.
const KEPT: Duration = Duration::from_millis(500);
/// The end of the answer is here already; who still is not ready is not waited for.
const READY_TIMEOUT: Duration = Duration::from_millis(50);

/// A place for one such connection; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpareConnection(Arc<Mutex<Option<(Instant, RequestSender)>>>);

impl SpareConnection {
    /// Keeps a connection in the place of the one that was kept.
    pub(crate) fn keep(&self, sender: RequestSender) {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some((Instant::now(), sender));
    }

    /// The one that was kept just now, where it takes another request.
    pub(crate) async fn take(&self) -> Option<RequestSender> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (_, mut sender) = kept.filter(|(since, _)| since.elapsed() < KEPT)?;
        let ready = tokio::time::timeout(READY_TIMEOUT, sender.ready()).await;
        matches!(ready, Ok(Ok(()))).then_some(sender)
    }
}
