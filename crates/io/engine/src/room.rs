//! What memory there is for more instances of a home.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hornero_model::Room;
use hornero_sandbox::{MemoryRoom, memory_room};

use crate::assemble::cgroup_parent;

/// How old an answer may be: who decides asks a dozen times in a rollback, and each look takes thirty calls of the kernel.
const AGE: Duration = Duration::from_millis(100);

/// The last look at the memory that is left.
#[derive(Debug, Default)]
pub(crate) struct RoomLook(Mutex<Option<(Instant, Option<Room>)>>);

impl RoomLook {
    /// What there was not longer ago than a tenth of a second; none where nobody knows.
    pub(crate) fn recent(&self, home: &Path) -> Option<Room> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((looked, room)) if looked.elapsed() < AGE => room,
            _ => {
                let room = look(home);
                *last = Some((Instant::now(), room));
                room
            }
        }
    }
}

fn look(home: &Path) -> Option<Room> {
    let MemoryRoom { available_bytes, limit_bytes } = memory_room(&cgroup_parent(home))?;
    Some(Room { available_bytes, limit_bytes })
}
