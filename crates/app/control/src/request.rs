//! Requests of clients: who calls, and what came with it, within limits.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use hornero_api::REQUEST_MAX_BYTES;
use hornero_model::{Directory, Role, ScheduleName, Timestamp};
use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Incoming},
};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::answer::ApiRefusal;

/// How long a client may take over a request's head, and then over its body: a local one needs milliseconds, and one
/// that never ends must not keep its connection from others.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The Unix user's name, or its number where it has none; the schedule, where it is a command of one.
    pub user: String,
    /// Its process, where the kernel tells.
    pub process: Option<u32>,
    /// The schedule that it is a command of.
    pub schedule: Option<(Directory, ScheduleName)>,
    /// What they may; nothing where absent.
    pub role: Option<Role>,
    /// Until when, where it ends by itself.
    pub until: Option<Timestamp>,
    /// Whether they call by a Unix socket.
    pub is_local: bool,
}

/// The other end of a connection by TCP, before it says who it is.
#[derive(Debug, Clone)]
pub struct RemotePeer {
    /// Its address.
    pub address: SocketAddr,
    /// The address that it called.
    pub local: SocketAddr,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The common name of its certificate, which was verified; none where it showed none.
    pub client: Option<String>,
}

/// Ends a connection whose client does not read what it is told.
#[derive(Debug, Clone, Default)]
pub struct HangUp {
    ends: Arc<Notify>,
    watched: Arc<AtomicBool>,
}

impl HangUp {
    /// Whether nobody watches over the connection yet, who then does.
    pub fn is_first_watch(&self) -> bool {
        !self.watched.swap(true, Ordering::Relaxed)
    }

    /// The same without keeping anything of the connection.
    pub fn weak(&self) -> Weak<Notify> {
        Arc::downgrade(&self.ends)
    }

    /// Returns once it is to end.
    pub async fn hung_up(&self) {
        self.ends.notified().await;
    }

    /// Ends it.
    pub fn hang_up(&self) {
        self.ends.notify_one();
    }
}

/// How far the client of a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientStage {
    /// It has not sent the head of a request.
    Silent,
    /// It has, and some of the body is missing.
    Asking,
    /// Its request is whole, and it waits for the answer: that is ours to give, however long it takes.
    Working,
    /// It is answered, or is being told what happens.
    Answered,
}

/// The stage of a client, as its connection and whoever looks for idle ones share it.
#[derive(Debug, Clone)]
pub struct ClientProgress(Arc<AtomicU8>);

impl ClientProgress {
    /// Of a client that has just connected.
    pub fn silent() -> Self {
        Self(Arc::new(AtomicU8::new(ClientStage::Silent as u8)))
    }

    /// The client has come so far.
    pub fn set(&self, stage: ClientStage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    /// Whether the client has come just so far.
    pub fn is(&self, stage: ClientStage) -> bool {
        self.0.load(Ordering::Relaxed) == stage as u8
    }
}

impl Caller {
    /// Refuses where the caller is less than `role`, which `what` needs.
    pub fn needs(&self, role: Role, what: &str) -> Result<(), ApiRefusal> {
        let Some(own) = self.role else {
            let text = format!("`{}` is in no group that may use this API", self.user);
            let refusal = ApiRefusal::new(StatusCode::FORBIDDEN, "needs_role", text);
            return Err(refusal.hint("`group` blocks of `api` in `settings.hcl` say which may"));
        };
        if own >= role {
            return Ok(());
        }
        let text = format!("{what} needs the role {role}; `{}` is {own}", self.user);
        Err(ApiRefusal::new(StatusCode::FORBIDDEN, "needs_role", text))
    }

    /// The same as a command of a schedule.
    pub fn of_schedule(self, schedule: (Directory, ScheduleName)) -> Self {
        let user = format!("schedule {}", schedule.1);
        Self { user, schedule: Some(schedule), ..self }
    }
}

/// The request's JSON body, within limits.
pub async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, ApiRefusal> {
    let bytes = whole(request).await?;
    parsed(&bytes).map_err(|error| bad(format!("the body is not of this request: {error}")))
}

fn bad(message: String) -> ApiRefusal {
    ApiRefusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

/// The bytes of a request's body, within limits; its client has nothing more to send then.
pub async fn whole(request: Request<Incoming>) -> Result<Bytes, ApiRefusal> {
    let progress = request.extensions().get::<ClientProgress>().cloned();
    let limited = Limited::new(request.into_body(), REQUEST_MAX_BYTES);
    let bytes = tokio::time::timeout(READ_TIMEOUT, limited.collect())
        .await
        .map_err(|_| bad("the body did not come in time".to_owned()))?
        .map_err(|error| bad(format!("the body can't be read: {error}")))?
        .to_bytes();
    if let Some(progress) = progress {
        progress.set(ClientStage::Working);
    }
    Ok(bytes)
}

/// A request's body. Every one is an object: serde would take a list for the fields in their order as well, and an
/// empty one for a request with nothing but defaults, such as to take everything down.
fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => Err(serde::de::Error::custom("expected an object, not a list")),
        Some(_) | None => serde_json::from_slice(bytes),
    }
}

#[cfg(test)]
mod tests {
    use hornero_api::message::DownRequest;

    use super::*;

    #[test]
    fn a_list_is_no_request() {
        for body in ["[]", " []", "\n[null, {}]"] {
            let error = parsed::<DownRequest>(body.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("not a list"), "{body}: {error}");
        }
        assert_eq!(parsed::<DownRequest>(b"{\"services\": null}").unwrap().services, None);
    }
}
