//! What of the host a home depends on: its control process, and room on its disks.

use std::{fs, path::PathBuf};

use super::finding::{HomeFindings, Severity};
use crate::relocate::is_held;

/// Free space below which a home is close to full: a base and an instance's logs.
const SPACE_BYTES_MIN: u64 = 1 << 30;
/// The same for the number of files: a base of Debian has some 10,000.
const FILES_MIN: u64 = 20_000;

impl HomeFindings<'_> {
    pub(super) fn control(&mut self) {
        let holds = is_held(&self.home.join("control.lock")).unwrap_or(false);
        let socket = self.home.join("control.sock");
        let answers = std::os::unix::net::UnixStream::connect(&socket).is_ok();
        if holds && !answers {
            let text = format!("control runs, and `{}` does not lead to it", socket.display());
            let run = "wait some seconds: control makes it anew; else end control by SIGTERM, and `hornero up` or `serve` starts another";
            self.add(Severity::Error, "control_socket_lost", text, run);
        } else if !holds && socket.exists() {
            let text = format!("`{}` is left of a control that is gone", socket.display());
            self.add(
                Severity::Note,
                "control_socket_stale",
                text,
                "nothing: the next control replaces it",
            );
        }
    }

    pub(super) fn space(&mut self) {
        let mut places: Vec<PathBuf> = vec![self.home.to_owned()];
        places.extend(fs::canonicalize(self.home.join("store")).ok());
        let mut seen = Vec::new();
        for place in places {
            let Ok(space) = rustix::fs::statvfs(&place) else { continue };
            if seen.contains(&space.f_fsid) {
                continue;
            }
            seen.push(space.f_fsid);
            let free = space.f_bavail * space.f_frsize;
            let run = self.command("image gc");
            if free < SPACE_BYTES_MIN {
                let text = format!("{} MiB are free below `{}`", free >> 20, place.display());
                self.add(Severity::Warning, "disk_full", text, run.clone());
            }
            if space.f_files > 0 && space.f_favail < FILES_MIN {
                let text = format!("{} more files fit below `{}`", space.f_favail, place.display());
                self.add(Severity::Warning, "disk_full", text, run);
            }
            if space.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
                let text = format!("the file system of `{}` is read-only", place.display());
                let run = "`dmesg` says why; after a repair, `mount -o remount,rw`";
                self.add(Severity::Error, "disk_read_only", text, run);
            }
        }
    }
}
