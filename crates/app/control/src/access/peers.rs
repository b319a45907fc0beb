//! Who is at the other end of a Unix socket, by what the kernel says of it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

use hornero_model::{GroupGrant, Role};
use tokio::net::UnixStream;

use super::names::{group_name, user_name};
use crate::request::Caller;

/// Groups of one process that are looked at; Linux allows 65,536 (NGROUPS_MAX).
const GROUPS: usize = 65_536;

/// Who calls by the home's own socket, which only root and who runs control get at.
pub fn own_caller(stream: &UnixStream) -> Caller {
    let credentials = stream.peer_cred();
    let process = credentials.as_ref().ok().and_then(|of| u32::try_from(of.pid()?).ok());
    let user = match credentials {
        Ok(credentials) => user_name(credentials.uid()),
        Err(error) => format!("unknown ({error})"),
    };
    Caller { user, process, schedule: None, role: Some(Role::Admin), until: None, is_local: true }
}

/// Who calls by the socket for members of groups: the most that one of their groups may.
pub fn member(stream: &UnixStream, granted: &[GroupGrant]) -> Caller {
    let caller = own_caller(stream);
    let credentials = stream.peer_cred().ok();
    let is_root = credentials.is_some_and(|credentials| credentials.uid() == 0);
    let mut groups: Vec<u32> =
        credentials.map(|credentials| credentials.gid()).into_iter().collect();
    match supplementary(stream) {
        Ok(more) => groups.extend(more),
        Err(error) => tracing::warn!("the groups of a caller can't be seen: {error}"),
    }
    let names: Vec<String> = groups.into_iter().filter_map(group_name).collect();
    let of_groups = granted.iter().filter(|group| names.contains(&group.name));
    let role = match is_root {
        true => Some(Role::Admin),
        false => of_groups.map(|group| group.role).max(),
    };
    // A schedule's commands are root's, and use the home's own socket.
    Caller { role, process: None, ..caller }
}

/// The groups of the process that connected, as they were then (`SO_PEERGROUPS`, unix(7)).
fn supplementary(stream: &UnixStream) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 64];
    loop {
        let mut bytes = u32::try_from(size_of_val(&groups[..])).unwrap_or(u32::MAX);
        // SAFETY: the kernel writes at most `bytes` bytes to the vector, which has as many, and how many it wrote to `bytes`.
        let result = unsafe {
            libc::getsockopt(
                stream.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let needed = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<u32>();
        match (result, io::Error::last_os_error()) {
            (0, _) => {
                groups.truncate(needed);
                return Ok(groups);
            }
            (_, error) if error.raw_os_error() == Some(libc::ERANGE) && needed <= GROUPS => {
                groups.resize(needed.max(groups.len() * 2).min(GROUPS), 0);
            }
            (_, error) => return Err(error),
        }
    }
}
