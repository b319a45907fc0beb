//! Every way in beside the home's own socket: opened as the settings say, and for browsers where they say nothing.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hornero_api::message::ApiStatus;
use hornero_model::{ApiListener, ApiSettings, GroupGrant, Timestamp};
use tokio::task::AbortHandle;

use super::{
    gate::AccessGate, local_door::LocalDoor, logins::Logins, rates::Rates, tcp_door::TcpDoor,
    tls::TlsKeeper,
};
use crate::server::{self, Handler};

/// Between two tries to listen: a port or a file that is missing comes when somebody mends it.
const RETRY: Duration = Duration::from_secs(5);
/// Between two looks whether a browser still needs what was opened for it.
const LOOK: Duration = Duration::from_secs(30);

/// Why there is no way for a browser.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// It is not open.
    #[error("nothing is reached at {0}: {1}")]
    Closed(String, String),
    /// There is one, elsewhere.
    #[error("the dashboard is at {0} already")]
    Elsewhere(SocketAddr),
    /// The port can't be listened at.
    #[error("can't listen at {0}: {1}")]
    Taken(SocketAddr, io::Error),
}

/// What was opened for browsers though no settings say so.
#[derive(Debug)]
struct Opened {
    address: SocketAddr,
    task: AbortHandle,
}

/// The ways in.
#[derive(Debug)]
pub struct Ways {
    settings: ApiSettings,
    /// Codes and browsers.
    pub logins: Arc<Logins>,
    rates: Arc<Rates>,
    opened: Mutex<Option<Opened>>,
    /// How it stands with what the settings say.
    told: Mutex<Vec<ApiStatus>>,
}

impl Ways {
    /// Of a home, by its settings; none is open yet.
    pub fn of(home: &Path, settings: ApiSettings) -> Self {
        Self {
            settings,
            logins: Arc::new(Logins::of(home)),
            rates: Arc::default(),
            opened: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// How it stands with each.
    pub fn status(&self) -> Vec<ApiStatus> {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let opened = self.opened().as_ref().map(|opened| opened.address);
        all.extend(opened.map(|address| ApiStatus {
            listen: address.to_string(),
            tls: false,
            fault: None,
        }));
        all
    }

    /// Opens what the settings say, and what browsers still use. What can't be opened is tried again.
    pub fn open<H: Handler>(self: &Arc<Self>, handler: &Arc<H>) {
        if let Some(listener) = self.settings.listener.clone() {
            let (ways, handler) = (Arc::clone(self), Arc::clone(handler));
            tokio::spawn(async move { ways.listen(listener, handler).await });
        } else if let Some(address) = self.logins.listener() {
            let (ways, handler) = (Arc::clone(self), Arc::clone(handler));
            tokio::spawn(async move { ways.open_again(address, handler).await });
        }
        if let Some(path) = self.settings.socket.clone() {
            let (groups, handler) = (self.settings.groups.clone(), Arc::clone(handler));
            let ways = Arc::clone(self);
            tokio::spawn(async move { ways.listen_for_groups(path.into(), groups, handler).await });
        }
    }

    /// Where browsers get in: what the settings say, else a port of 127.0.0.1 that is opened now.
    pub fn for_browsers<H: Handler>(
        self: &Arc<Self>,
        port: Option<u16>,
        handler: &Arc<H>,
    ) -> Result<String, NoWay> {
        if let Some(listener) = &self.settings.listener {
            self.check_open(listener)?;
            return match port.filter(|port| *port != listener.address.port()) {
                Some(_) => Err(NoWay::Elsewhere(listener.address)),
                None => Ok(shown_url(listener)),
            };
        }
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.unwrap_or(0));
        // Held until it is open, so that two who ask at once get one.
        let mut opened = self.opened();
        let address = match &*opened {
            Some(opened) if port.is_none_or(|port| port == opened.address.port()) => opened.address,
            Some(opened) => return Err(NoWay::Elsewhere(opened.address)),
            None => self
                .open_at(address, handler, &mut opened)
                .map_err(|error| NoWay::Taken(address, error))?,
        };
        Ok(format!("http://{address}"))
    }

    /// A link to a port that somebody else holds would give its code to them.
    fn check_open(&self, listener: &ApiListener) -> Result<(), NoWay> {
        let shown = listener.address.to_string();
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = match told.iter().find(|way| way.listen == shown) {
            Some(way) => way.fault.clone(),
            None => Some("it is being opened".to_owned()),
        };
        fault.map_or(Ok(()), |fault| Err(NoWay::Closed(shown, fault)))
    }

    /// Opens again what browsers use that are in, as soon as the port can be had.
    async fn open_again<H: Handler>(self: &Arc<Self>, address: SocketAddr, handler: Arc<H>) {
        while self.logins.are_open(Timestamp::now()) {
            let error = {
                let mut opened = self.opened();
                if opened.is_some() {
                    break;
                }
                self.open_at(address, &handler, &mut opened).err()
            };
            self.tell(&address.to_string(), false, error.as_ref());
            if error.is_none() {
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
        // Once it is open it is told as what was opened.
        let shown = address.to_string();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|way| way.listen != shown);
    }

    fn open_at<H: Handler>(
        self: &Arc<Self>,
        address: SocketAddr,
        handler: &Arc<H>,
        opened: &mut Option<Opened>,
    ) -> io::Result<SocketAddr> {
        let listener = bind(address)?;
        let address = listener.local_addr()?;
        let gate = AccessGate::new(None, Arc::clone(&self.logins), Arc::clone(&self.rates));
        let door = TcpDoor::new(listener, None, Arc::new(gate))?;
        let (ways, handler) = (Arc::clone(self), Arc::clone(handler));
        let task = tokio::spawn(async move {
            tokio::select! {
                () = server::serve(door, handler) => {}
                () = ways.unused() => {}
            }
            *ways.opened() = None;
            ways.logins.listens(None);
        });
        self.logins.listens(Some(address));
        *opened = Some(Opened { address, task: task.abort_handle() });
        Ok(address)
    }

    /// Returns once no browser is in and none may come in.
    async fn unused(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if !self.logins.are_open(Timestamp::now()) {
                return;
            }
        }
    }

    fn opened(&self) -> MutexGuard<'_, Option<Opened>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.as_ref().is_some_and(|opened| opened.task.is_finished()) {
            *opened = None;
        }
        opened
    }

    async fn listen<H: Handler>(&self, listener: ApiListener, handler: Arc<H>) {
        let gate = AccessGate::new(
            Some(listener.clone()),
            Arc::clone(&self.logins),
            Arc::clone(&self.rates),
        );
        let gate = Arc::new(gate);
        let shown = listener.address.to_string();
        loop {
            let opened = TlsKeeper::of(&listener)
                .and_then(|tls| TcpDoor::new(bind(listener.address)?, tls, Arc::clone(&gate)));
            self.tell(&shown, listener.tls.is_some(), opened.as_ref().err());
            if let Ok(door) = opened {
                server::serve(door, Arc::clone(&handler)).await;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn listen_for_groups<H: Handler>(
        &self,
        path: PathBuf,
        groups: Vec<GroupGrant>,
        handler: Arc<H>,
    ) {
        let shown = path.display().to_string();
        loop {
            let opened = bind_socket(&path).and_then(tokio::net::UnixListener::from_std);
            self.tell(&shown, false, opened.as_ref().err());
            if let Ok(listener) = opened {
                let door = LocalDoor::of_groups(listener, groups.clone());
                server::serve(door, Arc::clone(&handler)).await;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Notes how it stands with a way, and says it where that is new.
    fn tell(&self, listen: &str, tls: bool, error: Option<&io::Error>) {
        let fault = error.map(ToString::to_string);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.iter().position(|way| way.listen == listen).map(|at| told.remove(at));
        if before.is_none_or(|before| before.fault != fault) {
            match &fault {
                Some(fault) => tracing::error!("the API is not reached at `{listen}`: {fault}"),
                None => tracing::info!("the API is reached at `{listen}`"),
            }
        }
        told.push(ApiStatus { listen: listen.to_owned(), tls, fault });
    }
}

/// Binds a port, also where connections of the control process before this one are still ending.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
}

/// Binds a socket for everybody, who are told apart by their groups; it replaces one that nobody listens at.
fn bind_socket(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::other("something that is no socket is there"));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The URL by which a browser reaches a listener.
fn shown_url(listener: &ApiListener) -> String {
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    let port = listener.address.port();
    match listener.hosts.first() {
        Some(host) => format!("{scheme}://{host}:{port}"),
        None if listener.address.ip().is_unspecified() => format!("{scheme}://localhost:{port}"),
        None => format!("{scheme}://{}", listener.address),
    }
}
