//! What runs in the sandbox between two looks at a root: dpkg configures packages, then the `preinst` of those that come
//! next run, as dpkg would have run them (Debian Policy 6.5).

use std::{collections::BTreeMap, fmt::Write as _};

use hornero_rebase::debian::control;

use crate::{
    deb::{PackageFacts, unpack::INFO_DIR},
    plan::Round,
};

/// What maintainer scripts are told while packages are configured, by path, and never a part of the image: no service
/// may be started, and nothing runs in here that would have to be started anew. Without the second answer, found before
/// `/usr/bin/ischroot`, the C library's script asks an init to start itself again, and waits a second for it.
pub const ANSWERS: [(&str, &str); 2] = [
    ("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n"),
    ("usr/sbin/ischroot", "#!/bin/sh\nexit 0\n"),
];

/// An `/etc/resolv.conf` for scripts where a root has none, by path, and never a part of the image: without one, postfix's
/// takes the host's name for unknown.
pub const RESOLVERS: (&str, &str) =
    ("etc/resolv.conf", "# Nobody answers while an image is baked.\n");

/// Which packages come before all others, in this order.
const FIRST: [&str; 2] = ["base-passwd", "base-files"];

/// The environment of maintainer scripts: the path is apt's (`DPkg::Path`), so that what somebody put into `/usr/local` does
/// not stand in for what a package depends on.
pub fn environment(epoch: u64) -> BTreeMap<String, String> {
    [
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .chain([("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string())])
    .collect()
}

/// The environment of `run` steps and provisions, which find what lies in `/usr/local`, too.
pub fn step_environment(epoch: u64) -> BTreeMap<String, String> {
    let mut env = environment(epoch);
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    env.insert("PATH".to_owned(), path.to_owned());
    env
}

/// The directory, while a script runs, of what it needs and no image keeps.
pub const STAGE_DIR: &str = "var/lib/dpkg/tmp.hornero";

/// The name of the script in [`STAGE_DIR`].
const RUN: &str = "run";

/// The command that runs the script of a round, whose files were written to [`STAGE_DIR`].
pub fn command() -> String {
    format!("exec /bin/sh /{STAGE_DIR}/{RUN}")
}

/// How dpkg is run: it stops at the first package that fails, so that what that wrote comes last, and keeps
/// configuration files that somebody else wrote, since there is nobody to be asked.
const DPKG: &str = "dpkg --force-unsafe-io --force-confdef --force-confold --abort-after=1";

/// The script of a round; `pending` are packages that were there before and have triggers to be run.
pub fn script(packages: &[&PackageFacts], round: &Round, pending: &[String]) -> String {
    let mut text = String::from("set -e\numask 022\ncd /\n");
    text.push_str(PREINST);
    for number in &round.late_preinsts {
        let facts = packages[*number];
        call(&mut text, facts, &format!("/{INFO_DIR}/{}.preinst", facts.info_name));
    }
    let mut names: Vec<&str> =
        round.configure.iter().map(|number| packages[*number].name.as_str()).collect();
    // Every other package's scripts take the first accounts and directories for granted, without depending on them.
    let first: Vec<&str> = FIRST.into_iter().filter(|name| names.contains(name)).collect();
    if !first.is_empty() {
        names.retain(|name| !first.contains(name));
        let _ = writeln!(text, "{DPKG} --force-depends --configure {}", first.join(" "));
    }
    names.extend(pending.iter().map(String::as_str).filter(|name| !first.contains(name)));
    if !names.is_empty() {
        let _ = writeln!(text, "{DPKG} --configure {}", names.join(" "));
    }
    for number in &round.preinsts {
        let facts = packages[*number];
        let _ = writeln!(text, "mv '/{STAGE_DIR}/{}' /var/lib/dpkg/tmp.ci", facts.name);
        call(&mut text, facts, "/var/lib/dpkg/tmp.ci/preinst");
        text.push_str("rm -rf /var/lib/dpkg/tmp.ci\n");
    }
    let _ = writeln!(text, "rm -rf /{STAGE_DIR}");
    text
}

/// The script for whatever dpkg left undone, such as triggers that scripts set off after it had looked.
pub fn finishing_script() -> String {
    format!("set -e\numask 022\ncd /\n{DPKG} --configure -a\nrm -rf /{STAGE_DIR}\n")
}

/// The files of [`STAGE_DIR`], by path below it: the script, and for each `preinst` the control files of its package,
/// which `control_files` gives but for `control` itself. All may be executed.
///
/// # Errors
/// Those of `control_files`.
pub fn stage<E>(
    packages: &[&PackageFacts],
    round: &Round,
    script: String,
    control_files: impl Fn(usize) -> Result<Vec<(String, Vec<u8>)>, E>,
) -> Result<BTreeMap<String, Vec<u8>>, E> {
    let mut files = BTreeMap::from([(RUN.to_owned(), script.into_bytes())]);
    for number in &round.preinsts {
        let facts = packages[*number];
        let control = ("control".to_owned(), facts.control.clone().into_bytes());
        for (name, contents) in control_files(*number)?.into_iter().chain([control]) {
            files.insert(format!("{}/{name}", facts.name), contents);
        }
    }
    Ok(files)
}

/// As dpkg runs it, with the environment of dpkg(1).
const PREINST: &str = r#"preinst() {
  echo "Preparing to unpack $1 ..."
  (
    export DPKG_ADMINDIR=/var/lib/dpkg DPKG_FORCE=unsafe-io DPKG_ROOT= DPKG_MAINTSCRIPT_NAME=preinst
    export DPKG_MAINTSCRIPT_PACKAGE="$1" DPKG_MAINTSCRIPT_ARCH="$2"
    export DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_MAINTSCRIPT_DEBUG=0
    exec "$3" install
  ) || {
    code=$?
    echo "its preinst failed with exit code $code" >&2
    exit 1
  }
}
"#;

fn call(text: &mut String, facts: &PackageFacts, script: &str) {
    let paragraph = control::parse_paragraph(&facts.control).unwrap_or_default();
    let architecture = paragraph.get("Architecture").unwrap_or_default();
    let _ = writeln!(text, "preinst '{}' '{architecture}' '{script}'", facts.name);
}

/// The package that a line of a script's output is the first one of, where it is the first line of a package.
pub fn section(line: &str) -> Option<&str> {
    const BEGINNINGS: [&str; 3] =
        ["Setting up ", "Processing triggers for ", "Preparing to unpack "];
    let rest = BEGINNINGS.iter().find_map(|beginning| line.strip_prefix(beginning))?;
    rest.split([' ', ':']).next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_in_words() {
        let facts = |name: &str| PackageFacts {
            name: name.to_owned(),
            control: format!("Package: {name}\nVersion: 1\nArchitecture: all\n"),
            conffiles: Vec::new(),
            triggers: String::new(),
            scripts: vec!["preinst".to_owned()],
            info_name: name.to_owned(),
        };
        let all = [facts("base-files"), facts("one"), facts("two")];
        let packages: Vec<&PackageFacts> = all.iter().collect();
        let round = Round {
            unpack: vec![0, 1],
            configure: vec![1, 0],
            preinsts: vec![2],
            late_preinsts: vec![0],
            ..Round::default()
        };
        let text = script(&packages, &round, &["there".to_owned()]);
        let calls: Vec<&str> = text.lines().skip_while(|line| *line != "}").skip(1).collect();
        assert_eq!(
            calls,
            [
                "preinst 'base-files' 'all' '/var/lib/dpkg/info/base-files.preinst'",
                &format!("{DPKG} --force-depends --configure base-files"),
                &format!("{DPKG} --configure one there"),
                "mv '/var/lib/dpkg/tmp.hornero/two' /var/lib/dpkg/tmp.ci",
                "preinst 'two' 'all' '/var/lib/dpkg/tmp.ci/preinst'",
                "rm -rf /var/lib/dpkg/tmp.ci",
                "rm -rf /var/lib/dpkg/tmp.hornero",
            ]
        );
        let templates = |_| Ok::<_, ()>(vec![("templates".to_owned(), b"x".to_vec())]);
        let files = stage(&packages, &round, text, templates).unwrap();
        assert!(files.keys().eq(["run", "two/control", "two/templates"]));
    }

    #[test]
    fn the_lines_of_a_package_begin_with_its_name() {
        for (line, package) in [
            ("Setting up libc6:amd64 (2.36-9) ...", Some("libc6")),
            ("Processing triggers for man-db (2.11.2-2) ...", Some("man-db")),
            ("Preparing to unpack zutils ...", Some("zutils")),
            ("Setting up ", None),
            ("dpkg: error processing package x (--configure):", None),
        ] {
            assert_eq!(section(line), package);
        }
    }
}
