//! The service manager's unit that keeps control, where one does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hornero_control::Program;

use crate::failure::{Failure, exit};

/// What systemd makes where it runs (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// A unit of systemd whose main process is control.
#[derive(Debug)]
pub struct Unit {
    name: String,
}

impl Unit {
    /// The unit of a control process; none where it was started by hand. Refused where the unit starts another program
    /// than this one.
    pub fn of(pid: u32) -> Result<Option<Self>, Failure> {
        if !Path::new(SYSTEMD).exists() {
            return Ok(None);
        }
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let Some(name) = unit_in(&groups) else { return Ok(None) };
        let shown = Command::new("systemctl")
            .args(["show", "--property=MainPID", "--property=ExecStart", &name])
            .output()?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        if property(&shown, "MainPID") != Some(&pid.to_string()) {
            return Ok(None);
        }
        let started = property(&shown, "ExecStart").and_then(program_of);
        let own = Program::own()?;
        match started {
            Some(path) if Program::at(&path).is_ok_and(|program| program == own) => {
                Ok(Some(Self { name }))
            }
            started => {
                let path =
                    started.map_or_else(String::new, |path| format!(" `{}`", path.display()));
                let text = format!(
                    "the unit `{name}` starts{path}, which is not the program of this command"
                );
                Err(Failure::new(exit::REFUSED, text).hint(
                    "nothing was changed: install the package of the new version, and run the `hornero upgrade` that \
                     the unit starts",
                ))
            }
        }
    }

    /// Restarts it and waits until it is ready; why not, where it is not.
    pub fn restart(&self) -> Result<(), String> {
        let ran = Command::new("systemctl").args(["restart", &self.name]).output();
        match ran {
            Ok(ran) if ran.status.success() => Ok(()),
            Ok(ran) => {
                let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
                Err(format!("`systemctl restart {}` failed: {said}", self.name))
            }
            Err(error) => Err(format!("`systemctl` can't be run: {error}")),
        }
    }

    /// Ends it, so that it does not go on trying.
    pub fn stop(&self) {
        // Where it can't be ended it holds the home, and what is started beside it says so.
        let _ = Command::new("systemctl").args(["stop", &self.name]).status();
    }
}

/// The unit that a process belongs to, by its control groups.
fn unit_in(groups: &str) -> Option<String> {
    let names = groups.lines().filter_map(|line| line.rsplit('/').next());
    names.into_iter().find(|name| name.ends_with(".service")).map(str::to_owned)
}

fn property<'t>(shown: &'t str, name: &str) -> Option<&'t str> {
    shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// The program in what systemd says of `ExecStart`.
fn program_of(value: &str) -> Option<PathBuf> {
    let path = value.split("path=").nth(1)?.split(' ').next()?;
    path.starts_with('/').then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_found_by_control_group() {
        let unified = "0::/system.slice/hornero.service\n";
        assert_eq!(unit_in(unified).as_deref(), Some("hornero.service"));
        let hybrid = "5:cpu:/\n1:name=systemd:/system.slice/hornero.service\n0::/\n";
        assert_eq!(unit_in(hybrid).as_deref(), Some("hornero.service"));
        assert_eq!(unit_in("0::/user.slice/user-0.slice/session-1.scope\n"), None);
    }

    #[test]
    fn properties_are_read_as_systemd_writes_them() {
        let shown = "MainPID=812\nExecStart={ path=/usr/bin/hornero ; argv[]=/usr/bin/hornero --home /var/lib/hornero \
                     serve ; ignore_errors=no ; start_time=[n/a] ; pid=812 ; code=(null) ; status=0/0 }\n";
        assert_eq!(property(shown, "MainPID"), Some("812"));
        let program = property(shown, "ExecStart").and_then(program_of);
        assert_eq!(program.as_deref(), Some(Path::new("/usr/bin/hornero")));
        assert_eq!(program_of(""), None);
    }
}
