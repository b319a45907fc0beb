//! A backend as one thread sees it: its connections there that lie idle or are shared, and new ones.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use tokio::net::TcpStream;

use crate::{
    backend::Backend,
    clock::Clock,
    limits::Limits,
    link::Way,
    net::Sock,
    origin::Origin,
    proxy_protocol::{self, Endpoints},
    to_server::SharedConnection,
};

/// Idle connections kept for one backend by one thread; more than its share of a burst would hold the backend's
/// files for nothing.
const IDLE_PER_BACKEND: usize = 256;
/// The same of those that many requests share.
const SHARED_PER_BACKEND: usize = 16;

/// A backend with this thread's idle connections to it.
#[derive(Debug)]
pub(crate) struct LocalBackend {
    pub(crate) shared: Arc<Backend>,
    idle: RefCell<Vec<Idle>>,
    /// Those that many requests use at once, where the server speaks HTTP/2.
    shared_connections: RefCell<Vec<Rc<SharedConnection>>>,
    /// Held while one is opened.
    opening: tokio::sync::Mutex<()>,
    retired: Cell<bool>,
    /// How long its connections may lie idle, where its pool says it.
    pub(crate) idle_timeout: Cell<Option<Duration>>,
}

#[derive(Debug)]
struct Idle {
    sock: Sock,
    /// The only client whose requests may go on it, where the server has been told.
    client: Option<Box<Endpoints>>,
    since_ms: u64,
}

/// How sure a kept-alive connection must be before a request goes on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// The request can be repeated if the connection turns out closed.
    Likely,
    /// It can't: ask the kernel first.
    Certain,
    /// Always connect anew.
    Never,
}

impl LocalBackend {
    /// A backend without connections yet.
    pub(crate) fn new(shared: Arc<Backend>) -> Rc<Self> {
        Rc::new(Self {
            shared,
            idle: RefCell::new(Vec::new()),
            shared_connections: RefCell::default(),
            opening: tokio::sync::Mutex::default(),
            retired: Cell::new(false),
            idle_timeout: Cell::new(None),
        })
    }

    /// The client that the server is to be told of, where it is.
    pub(crate) fn client(&self, origin: &Origin) -> Option<Box<Endpoints>> {
        let Origin { peer: source, destination, .. } = *origin;
        self.shared.proxy_protocol.map(|_| Box::new(Endpoints { source, destination }))
    }

    /// A new connection, which has told the server of the client where it is to.
    pub(crate) async fn connect(
        &self,
        limits: &Limits,
        client: Option<&Endpoints>,
    ) -> io::Result<Sock> {
        let sock = Sock::connect(self.shared.address, limits.connect_timeout).await?;
        if let (Some(version), Some(client)) = (self.shared.proxy_protocol, client) {
            proxy_protocol::send(&sock, &proxy_protocol::write(version, client))?;
        }
        Ok(sock)
    }

    /// An idle connection for requests of `client`, as sure as `reuse` asks for.
    pub(crate) fn take_idle(&self, reuse: Reuse, client: Option<&Endpoints>) -> Option<Sock> {
        if reuse == Reuse::Never {
            return None;
        }
        let mut context = std::task::Context::from_waker(Waker::noop());
        let mut idle = self.idle.borrow_mut();
        let is_own = |idle: &Idle| idle.client.as_deref() == client;
        while let Some(index) = idle.iter().rposition(is_own) {
            let Idle { sock, .. } = idle.remove(index);
            let suspicious = reuse == Reuse::Certain || sock.may_be_stale(&mut context);
            if !(suspicious && sock.is_stale()) {
                return Some(sock);
            }
        }
        None
    }

    /// A part of a shared connection, which is opened where there is none with room; whether it was there before.
    pub(crate) async fn part(
        &self,
        limits: &Limits,
        clock: &Clock,
        client: Option<&Endpoints>,
    ) -> io::Result<(Way, bool)> {
        let timeout = limits.connect_timeout;
        let finding = async {
            if let Some(known) = self.with_room(client) {
                return Ok::<_, io::Error>((known.request(clock.now_ms()).await?, true));
            }
            // A burst waits for one connection instead of opening one for each of its requests.
            let _one_at_a_time = self.opening.lock().await;
            let (connection, reused) = match self.with_room(client) {
                Some(known) => (known, true),
                None => (self.open_shared(limits, clock, client).await?, false),
            };
            Ok((connection.request(clock.now_ms()).await?, reused))
        };
        let (part, reused) = tokio::time::timeout(timeout, finding)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok((Way::Part(Box::new(part)), reused))
    }

    /// A shared connection that takes one request more, or where there are enough, one that will.
    fn with_room(&self, client: Option<&Endpoints>) -> Option<Rc<SharedConnection>> {
        let mut connections = self.shared_connections.borrow_mut();
        connections.retain(|connection| !connection.is_ended());
        let own = || connections.iter().filter(|connection| connection.client() == client);
        let full = || own().next().filter(|_| own().count() >= SHARED_PER_BACKEND);
        own().find(|connection| connection.has_room()).or_else(full).cloned()
    }

    async fn open_shared(
        &self,
        limits: &Limits,
        clock: &Clock,
        client: Option<&Endpoints>,
    ) -> io::Result<Rc<SharedConnection>> {
        let sock = self.connect(limits, client).await?;
        let stream = TcpStream::from_std(sock.into_inner().into())?;
        let fresh = SharedConnection::shake_hands(stream, limits, clock, client.copied()).await?;
        if !self.retired.get() {
            self.shared_connections.borrow_mut().push(fresh.clone());
        }
        Ok(fresh)
    }

    /// Keeps a connection whose last answer was complete.
    pub(crate) fn put_idle(&self, sock: Sock, client: Option<Box<Endpoints>>, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        if !self.retired.get() && idle.len() < IDLE_PER_BACKEND {
            idle.push(Idle { sock, client, since_ms: now_ms });
        }
    }

    /// Closes connections that were last used before `oldest_ms`.
    pub(crate) fn drop_idle_before(&self, oldest_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        // The oldest are first: the newest are taken and put back at the end.
        let old = idle.iter().take_while(|idle| idle.since_ms < oldest_ms).count();
        idle.drain(..old);
        self.shared_connections
            .borrow_mut()
            .retain(|connection| !connection.is_idle_since(oldest_ms));
    }

    /// The table no longer has the backend: its idle connections close, those in use close after their answer.
    pub(crate) fn retire(backend: &Rc<Self>) {
        backend.retired.set(true);
        backend.idle.borrow_mut().clear();
        backend.shared_connections.borrow_mut().clear();
    }
}
