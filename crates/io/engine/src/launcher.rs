//! The single-threaded process that forks a shim for each start: forking a process with threads is not safe.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use hornero_engine_port::EngineError;
use hornero_model::InstanceId;
use serde::{Deserialize, Serialize};

use crate::{
    guest::{self, GuestReply, GuestRequest},
    shim,
    shim::Reply,
    wire,
};

/// A request to the launcher; the descriptor with it is where the shim replies.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    id: InstanceId,
    /// What is to enter the instance, which runs already; none where it is to be started.
    #[serde(default)]
    guest: Option<GuestRequest>,
}

/// The command that becomes the launcher: Hornero itself with the arguments of its `shim` command.
#[derive(Debug, Clone)]
pub struct LauncherCommand {
    /// The program; `/proc/self/exe` for the running one.
    pub program: PathBuf,
    /// Its arguments. The program must then call [`serve`].
    pub arguments: Vec<std::ffi::OsString>,
}

/// The life of the launcher: serves requests from the socket that is its standard input until the engine is gone.
///
/// Call it first thing in `main`, from a process with one thread. Returns in the launcher only; shims end inside.
pub fn serve(home: &Path) -> io::Result<()> {
    // SAFETY: no thread but this one; ignoring SIGCHLD makes the kernel reap shims that end before the launcher.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    hornero_sandbox::warm_up();
    // The engine names things on the host after the one true path of its home; so must the shims.
    let home = home.canonicalize()?;
    let socket = io::stdin();
    loop {
        let (request, reply) = match wire::receive::<Request>(socket.as_fd()) {
            Ok(Some((request, Some(reply)))) => (request, reply),
            Ok(Some((_, None))) => continue,
            Ok(None) => return Ok(()),
            // Not to be understood, or too long: whoever asked sees that nobody has the other side, and the next may be right.
            Err(error) if wire::is_nonsense(&error) => continue,
            Err(error) => return Err(error),
        };
        // SAFETY: this process has one thread, so the child may do everything that the parent may.
        match unsafe { libc::fork() } {
            0 => {
                match &request.guest {
                    None => become_shim(&home, &request.id, reply),
                    Some(guest) => become_guest_keeper(&home, &request.id, guest, reply),
                }
                std::process::exit(0);
            }
            pid if pid > 0 => {}
            _ => {
                let reason = format!("fork: {}", io::Error::last_os_error());
                let _ = wire::send(&reply, &Reply::Failed(reason), None);
            }
        }
    }
}

fn become_shim(home: &Path, id: &InstanceId, reply: OwnedFd) {
    // SAFETY: as in `serve`. A shim waits for its own child.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    // SAFETY: the name lives across the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"hornero-shim".as_ptr()) };
    match shim::detach_from_launcher() {
        Ok(()) => shim::run(home, id, reply),
        Err(error) => {
            let reason = format!("detach from the launcher: {error}");
            let _ = wire::send(&reply, &Reply::Failed(reason), None);
        }
    }
}

fn become_guest_keeper(home: &Path, id: &InstanceId, guest: &GuestRequest, reply: OwnedFd) {
    // SAFETY: as in `serve`. It waits for its own child.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    // SAFETY: the name lives across the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"hornero-glass".as_ptr()) };
    match shim::detach_from_launcher() {
        Ok(()) => guest::run(home, id, guest, reply),
        Err(error) => {
            let reason = format!("detach from the launcher: {error}");
            let _ = wire::send(&reply, &GuestReply::NotEntered(reason), None);
        }
    }
}

/// The engine's side: the launcher's process, started again when it is gone.
#[derive(Debug)]
pub(crate) struct Launcher {
    command: LauncherCommand,
    process: Mutex<Option<Process>>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    socket: OwnedFd,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends by itself once the socket is closed, but a dropped engine should leave no zombie.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Launcher {
    pub fn new(command: LauncherCommand) -> Self {
        Self { command, process: Mutex::new(None) }
    }

    /// Makes sure that the launcher runs, so that the first start need not wait for it.
    pub fn ensure(&self) -> Result<(), EngineError> {
        let mut process = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if process.is_none() {
            *process = Some(self.spawn()?);
        }
        Ok(())
    }

    fn spawn(&self) -> Result<Process, EngineError> {
        let failed = |error: io::Error| {
            EngineError::failed(
                format!("start the launcher `{}`", self.command.program.display()),
                error,
            )
        };
        let (ours, theirs) = wire::pair().map_err(failed)?;
        let child = Command::new(&self.command.program)
            .args(&self.command.arguments)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Process { child, socket: ours })
    }

    /// Has a shim forked for `id`; what it says, with its process where it started.
    pub fn start(&self, id: &InstanceId) -> Result<(Reply, Option<OwnedFd>), EngineError> {
        let failed = |error: io::Error| EngineError::failed("ask the launcher", error);
        let (ours, theirs) = wire::pair().map_err(failed)?;
        let request = Request { id: id.clone(), guest: None };
        self.request(&request, theirs.as_fd()).map_err(failed)?;
        drop(theirs);
        let answer = wire::receive::<Reply>(&ours).map_err(failed)?;
        if !matches!(answer, Some((Reply::Started(_), _))) {
            // The shim ends right after it has told why; whoever is told finds nothing of it.
            let _ = wire::receive::<Reply>(&ours);
        }
        Ok(answer.unwrap_or_else(|| (Reply::Failed("its shim was killed".to_owned()), None)))
    }

    /// Has something enter an instance; where it is talked to.
    pub fn enter(&self, id: &InstanceId, guest: GuestRequest) -> io::Result<OwnedFd> {
        let (ours, theirs) = wire::pair()?;
        let request = Request { id: id.clone(), guest: Some(guest) };
        self.request(&request, theirs.as_fd())?;
        Ok(ours)
    }

    fn request(&self, request: &Request, reply: BorrowedFd<'_>) -> io::Result<()> {
        let mut process = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(running) = process.as_ref() {
            match wire::send(&running.socket, request, Some(reply)) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                other => return other,
            }
        }
        let fresh = self.spawn().map_err(io::Error::other)?;
        let sent = wire::send(&fresh.socket, request, Some(reply));
        *process = Some(fresh);
        sent
    }
}
