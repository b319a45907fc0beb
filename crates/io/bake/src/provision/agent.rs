//! The way from Ansible's sandbox into that of the step: a socket that an agent inside listens on.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            fs::{PermissionsExt as _, chown},
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
};

/// The agent; it runs in the sandbox with the socket as its standard input.
pub(crate) const PROGRAM: &str = include_str!("agent.py");
/// Where it lies in the sandbox.
pub(crate) const PATH: &str = "/run/hornero/agent.py";
/// The socket's name in the step's directory.
pub(crate) const SOCKET: &str = "agent";

/// The socket of one step.
pub(crate) struct Agent {
    directory: File,
    listener: UnixListener,
}

impl Agent {
    /// Listens in the directory of a step, for the user `owner` of the host.
    pub(crate) fn listen(dir: &Path, owner: u32) -> io::Result<Self> {
        let directory = File::open(dir)?;
        let path = socket_path(&directory);
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        chown(&path, Some(owner), Some(owner))?;
        Ok(Self { directory, listener })
    }

    /// The standard input of the agent.
    pub(crate) fn stdin(&self) -> io::Result<OwnedFd> {
        Ok(self.listener.try_clone()?.into())
    }

    /// Tells the agent to end with an exit code.
    pub(crate) fn end(&self, code: u8) {
        // Where it can't be told it has ended already.
        let _ = UnixStream::connect(socket_path(&self.directory))
            .and_then(|mut stream| stream.write_all(&[b'q', code]));
    }
}

/// By the directory's descriptor: the path of a socket has at most 107 bytes (unix(7)).
fn socket_path(directory: &File) -> String {
    format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd())
}
