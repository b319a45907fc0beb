//! The control socket while control runs: bound anew where somebody took it away, since without it nobody reaches who
//! holds the home's lock.

use std::{
    os::unix::{fs::MetadataExt as _, net::UnixListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    access::local_door::LocalDoor,
    server::{self, Handler},
};

/// Between two looks whether the socket is still there: nobody waits longer for it than for a slow answer.
const LOOK: Duration = Duration::from_secs(1);

/// Serves on `listener`, which is bound to `path`, and on another one as often as that is lost, until it is dropped.
pub async fn serve<H: Handler>(path: PathBuf, listener: UnixListener, handler: Arc<H>) {
    let mut bound = (listener, identity(&path));
    loop {
        let (listener, own) = bound;
        match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => tokio::select! {
                () = server::serve(LocalDoor::own(listener), Arc::clone(&handler)) => return,
                () = lost(&path, own) => {}
            },
            Err(error) => tracing::warn!("the control socket can't be used: {error}"),
        }
        bound = loop {
            // Whoever listens there has taken over, and who is taken over from takes no socket away.
            if !is_served(&path).await {
                tracing::warn!("`{}` was taken away; it is made anew", path.display());
                match server::bind(&path) {
                    Ok(listener) => break (listener, identity(&path)),
                    Err(error) => tracing::warn!("`{}` can't be made: {error}", path.display()),
                }
            }
            tokio::time::sleep(LOOK).await;
        };
    }
}

/// Whether a process listens at a path, also where too many wait for it already.
async fn is_served(path: &Path) -> bool {
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

/// Which file a path leads to.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Returns once the path leads elsewhere, or nowhere.
async fn lost(path: &Path, own: Option<(u64, u64)>) {
    while identity(path) == own {
        tokio::time::sleep(LOOK).await;
    }
}
