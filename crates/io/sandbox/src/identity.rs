//! The ids by which a thread makes files for a sandbox.

use crate::{capability, sys};

/// The calling thread's ids for files, put back when dropped.
///
/// An overlay writes to its upper layer as whoever made it, and through a mapped mount the host's root is nobody who
/// could: its id is not in the map.
pub(crate) struct FileIds;

impl FileIds {
    /// From now on the calling thread makes files as host id `id`.
    pub fn assume(id: u32) -> sys::Result<Self> {
        let assumed = Self;
        if id != 0 {
            Self::set(id)?;
            // Leaving 0 has dropped the capabilities that concern files.
            capability::raise_permitted()?;
        }
        Ok(assumed)
    }

    fn set(id: u32) -> sys::Result<()> {
        // By raw calls: these ids are the thread's own. Both return the former id, whatever happens.
        sys::call(libc::SYS_setfsgid, [id.into(), 0, 0, 0])?;
        sys::call(libc::SYS_setfsuid, [id.into(), 0, 0, 0]).map(drop)
    }
}

impl Drop for FileIds {
    fn drop(&mut self) {
        // Can't fail: a thread with CAP_SETUID may go back to 0.
        let _ = Self::set(0);
    }
}
