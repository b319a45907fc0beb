//! Commands that schedules run now: what they ask of the API is asked by their schedule.

use std::{
    collections::BTreeMap,
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command},
    sync::{Mutex, PoisonError},
};

use hornero_model::{Directory, ScheduleName};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// The commands, by their process ids.
#[derive(Debug, Default)]
pub struct Children(Mutex<BTreeMap<u32, (Directory, ScheduleName)>>);

impl Children {
    /// Starts a command for a schedule. It ends with the thread that calls this: nobody else would see its end, and two of
    /// one schedule would run at once.
    pub fn start(
        &self,
        command: &mut Command,
        schedule: (Directory, ScheduleName),
    ) -> io::Result<Child> {
        let own = std::process::id();
        // SAFETY: between fork and exec only system calls are made.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // Control may have died before that was set.
                let parent = getppid().map(|parent| parent.as_raw_nonzero().get().unsigned_abs());
                match parent == Some(own) {
                    true => Ok(()),
                    false => Err(rustix::io::Errno::SRCH.into()),
                }
            });
        }
        // Held until it is known: it may ask at once.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        known.insert(child.id(), schedule);
        Ok(child)
    }

    /// Forgets one that has ended.
    pub fn forget(&self, process: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&process);
    }

    /// The schedule that a process is a command of.
    pub fn schedule_of(&self, process: u32) -> Option<(Directory, ScheduleName)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&process).cloned()
    }
}
