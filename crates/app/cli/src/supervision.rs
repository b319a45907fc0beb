//! systemd's unit for a home, where there is one.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// There while systemd is the host's init (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// The unit that the package installs.
const UNIT: &str = "hornero.service";

/// A unit that runs the control process of a home.
#[derive(Debug)]
pub struct Unit {
    systemctl: &'static str,
}

/// The unit of exactly this home; none where systemd does not run or its unit is of another home.
pub fn unit_of(home: &Path) -> Option<Unit> {
    let unit = Unit { systemctl: "systemctl" };
    (Path::new(BOOTED).is_dir() && unit.serves(home)).then_some(unit)
}

impl Unit {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        "hornero"
    }

    /// Begins to start it; the process ends when control answers or failed.
    pub fn start(&self) -> std::io::Result<Child> {
        let mut command = Command::new(self.systemctl);
        command.args(["start", UNIT]).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped()).spawn()
    }

    /// Whether it is there and its command names `home`; drop-ins count.
    fn serves(&self, home: &Path) -> bool {
        let mut command = Command::new(self.systemctl);
        command.args(["show", "--property=LoadState,ExecStart", UNIT]).stdin(Stdio::null());
        // Where it can't be asked, control is started as on a host without it.
        let Ok(output) = command.output() else { return false };
        names_home(&String::from_utf8_lossy(&output.stdout), home)
    }
}

/// Whether what `systemctl show` says is a unit that can be started, of this home.
fn names_home(shown: &str, home: &Path) -> bool {
    let property = |name: &str| {
        shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::trim))
    };
    let command = property("ExecStart").and_then(|text| {
        let (_, words) = text.split_once("argv[]=")?;
        Some(words.split(" ;").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>())
    });
    let words = command.unwrap_or_default();
    let named = words.windows(2).any(|pair| pair[0] == "--home" && Path::new(pair[1]) == home);
    property("LoadState") == Some("loaded") && named && words.contains(&"serve")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "\
ExecStart={ path=/usr/bin/hornero ; argv[]=/usr/bin/hornero --home /var/lib/hornero serve --log-format journal ; \
ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
LoadState=loaded
";

    #[test]
    fn a_unit_is_of_the_home_that_its_command_names() {
        assert!(names_home(SHOWN, Path::new("/var/lib/hornero")));
        assert!(!names_home(SHOWN, Path::new("/var/lib/hornero2")));
        assert!(!names_home(SHOWN, Path::new("/var/lib")));
        assert!(!names_home(&SHOWN.replace("loaded", "masked"), Path::new("/var/lib/hornero")));
        assert!(!names_home("LoadState=not-found\n", Path::new("/var/lib/hornero")));
        assert!(!names_home("", Path::new("/var/lib/hornero")));
    }
}
