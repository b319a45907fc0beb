//! Where edges of one state directory are found: each at a socket of its own, the one that serves also by the
//! well-known name.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

use super::protocol::{admin_socket, restrict};

/// Ends the name of an edge's own socket, `PID.s`: no longer than `admin.sock`, since a socket's path has at most 107
/// bytes.
const OWN_SUFFIX: &str = ".s";

/// The admin socket of one edge.
#[derive(Debug)]
pub(crate) struct Place {
    state_dir: PathBuf,
    own: PathBuf,
    inode: u64,
}

impl Place {
    /// Listens on a socket of its own, which nobody knows yet.
    pub(crate) fn bind(state_dir: &Path) -> io::Result<(Self, UnixListener)> {
        let own = state_dir.join(format!("{}{OWN_SUFFIX}", std::process::id()));
        remove(&own)?;
        let listener = UnixListener::bind(&own)?;
        restrict(&own, 0o600)?;
        let inode = fs::symlink_metadata(&own)?.ino();
        Ok((Self { state_dir: state_dir.to_owned(), own, inode }, listener))
    }

    /// Gives the socket the well-known name, in one step in the place of whoever had it.
    pub(crate) fn publish(&self) -> io::Result<()> {
        let name = admin_socket(&self.state_dir);
        let fresh = name.with_extension("sock.new");
        remove(&fresh)?;
        fs::hard_link(&self.own, &fresh)?;
        fs::rename(&fresh, &name)?;
        // Left where the name was this socket's already.
        remove(&fresh)
    }

    /// Whether the well-known name is this edge's.
    pub(crate) fn is_published(&self) -> bool {
        fs::symlink_metadata(admin_socket(&self.state_dir))
            .is_ok_and(|found| found.ino() == self.inode)
    }

    /// Takes the names away that are this edge's.
    pub(crate) fn withdraw(&self) {
        if self.is_published() {
            let _ = fs::remove_file(admin_socket(&self.state_dir));
        }
        if fs::symlink_metadata(&self.own).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.own);
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The edges' own sockets, those that ended included.
pub(crate) fn own_sockets(state_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state_dir).into_iter().flatten().flatten();
    let named = entries.filter(|entry| {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_suffix(OWN_SUFFIX));
        pid.is_some_and(|pid| pid.parse::<u32>().is_ok())
    });
    named.map(|entry| entry.path()).collect()
}

/// Removes the own sockets of edges that were killed.
pub(crate) async fn sweep(state_dir: &Path) {
    for path in own_sockets(state_dir) {
        let answered = UnixStream::connect(&path).await;
        if answered.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            let _ = fs::remove_file(path);
        }
    }
}
