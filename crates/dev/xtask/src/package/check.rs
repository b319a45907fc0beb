//! What must hold of packages: lintian finds no errors, and installing, removing and purging leave a system as it was.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::wanted::Made;
use crate::run;

/// The release whose smallest system packages are tried in.
pub const SUITE: &str = "bookworm";
/// The releases before and after it: what the program is linked with is there in all of them.
const OTHER_SUITES: [&str; 2] = ["bullseye", "trixie"];

/// Checks what was made.
pub fn check(made: &Made) -> Result<()> {
    lint(&[&made.package, &made.symbols])?;
    let cache = run::target_directory().join("package/roots");
    let root = Root::unpack(&system(SUITE, &cache)?)?;
    comes_and_goes(&root, &made.package)?;
    script_comes_and_goes(&root, &made.tarball)?;
    stays_while_servers_run(&root, &made.package)?;
    for suite in OTHER_SUITES {
        let root = Root::unpack(&system(suite, &cache)?)?;
        comes_and_goes(&root, &made.package).with_context(|| format!("in `{suite}`"))?;
    }
    eprintln!(
        "package: installed, removed and purged in Debian 11, 12 and 13; nothing stayed behind"
    );
    Ok(())
}

/// Fails where lintian finds an error; warnings are shown.
pub fn lint(packages: &[&Path]) -> Result<()> {
    let mut lintian = Command::new("lintian");
    lintian.env("LC_ALL", "C.UTF-8").args(["--no-cfg", "--fail-on", "error", "--suppress-tags"]);
    // The program closes no bug of Debian's when it is first packed, and its static init is for images.
    lintian.arg("initial-upload-closes-no-bugs").args(packages);
    let output = lintian.output().context("cannot run `lintian`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("E:")).collect();
        bail!(
            "lintian: {}\n{}{}",
            output.status,
            errors.join("\n"),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    eprint!("{text}");
    Ok(())
}

/// The smallest system of a Debian release as a tar archive in `cache`, made once from the host's mirror.
pub fn system(suite: &str, cache: &Path) -> Result<PathBuf> {
    let archive = cache.join(format!("{suite}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    fs::create_dir_all(cache)?;
    let unfinished = cache.join(format!("{suite}.{}.unfinished.tar", std::process::id()));
    let mirror = super::sysroot::mirror()?;
    let made = run::check(
        Command::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase", "--mode=root", suite])
            .arg(&unfinished)
            .arg(format!("deb {mirror} {suite} main"))
            .stdout(std::io::stderr()),
    );
    if made.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    made?;
    fs::rename(&unfinished, &archive)?;
    Ok(archive)
}

/// A system in a directory of its own, deleted when it goes out of scope.
pub struct Root(tempfile::TempDir);

impl Root {
    /// Unpacks a [`system`].
    pub fn unpack(archive: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("hornero-package-").tempdir()?;
        // Devices are not needed, and not everywhere allowed.
        run::check(
            Command::new("tar")
                .args(["--extract", "--numeric-owner", "--exclude=./dev/*", "--file"])
                .arg(archive)
                .arg("--directory")
                .arg(directory.path()),
        )?;
        Ok(Self(directory))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command in it, in a process and mount namespace of its own; what it printed, both streams together.
    pub fn run(&self, command: &str) -> Result<String> {
        let output = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--root"])
            .arg(self.path())
            .args(["/bin/sh", "-c"])
            .arg(format!(
                "mount -t proc proc /proc && mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && {{ {command}; }} 2>&1"
            ))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C")
            .output()
            .context("cannot run `unshare`")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        bail!("`{command}`: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr))
    }

    /// Every path in it, with what kind of file it is and what it holds; without what dpkg keeps for itself.
    pub fn files(&self) -> Result<BTreeMap<String, String>> {
        let mut find = Command::new("find");
        find.current_dir(self.path());
        find.args([".", "-printf", "%P\\0%y %m %U:%G %l\\0"]);
        let output = find.output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split('\0');
        let mut found = BTreeMap::new();
        while let (Some(path), Some(kind)) = (words.next(), words.next()) {
            if !OWN_RECORDS.iter().any(|own| path.starts_with(own)) {
                found.insert(path.to_owned(), kind.to_owned());
            }
        }
        Ok(found)
    }
}

/// What dpkg and the helper of units write down about packages, also about those that are gone.
const OWN_RECORDS: &[&str] = &[
    "var/lib/dpkg/",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/cache/debconf/",
    "var/cache/ldconfig/",
    "var/lib/systemd/deb-systemd-helper-",
];

/// Installs, upgrades, removes and purges `package` in `root`, which is then as it was.
pub fn comes_and_goes(root: &Root, package: &Path) -> Result<()> {
    // The first command leaves what mount(8) writes down.
    root.run("true")?;
    let before = root.files()?;
    fs::copy(package, root.path().join("hornero.deb"))?;
    root.run("dpkg --install /hornero.deb")?;
    let said = root.run("hornero --version")?;
    if !said.starts_with("hornero ") {
        bail!("the installed program says `{said}`");
    }
    root.run("dpkg --verify hornero")?;
    // What a home would be: removing keeps it, purging does not.
    root.run("mkdir -p /var/lib/hornero/store && echo kept > /var/lib/hornero/store/object")?;
    root.run("dpkg --install /hornero.deb")?;
    root.run("dpkg --remove hornero")?;
    root.run("test -e /var/lib/hornero/store/object && ! test -e /usr/bin/hornero")?;
    root.run("dpkg --purge hornero")?;
    fs::remove_file(root.path().join("hornero.deb"))?;
    same(&before, &root.files()?).context("after a purge")
}

/// Installs twice and uninstalls by the tarball's script, with dash and with nothing but BusyBox.
pub fn script_comes_and_goes(root: &Root, tarball: &Path) -> Result<()> {
    root.run("true")?;
    let before = root.files()?;
    fs::copy(tarball, root.path().join("hornero.tar.gz"))?;
    fs::copy("/bin/busybox", root.path().join("busybox")).context("from `busybox-static`")?;
    root.run("tar -xzf /hornero.tar.gz && mv /hornero-* /unpacked && mkdir /only && /busybox --install -s /only")?;
    for shell in ["dash", "PATH=/only /only/sh"] {
        let install = format!("{shell} /unpacked/install.sh");
        root.run(&install)?;
        let once = root.files()?;
        root.run(&install)?;
        same(&once, &root.files()?).context("after a second installation")?;
        let said = root.run("/usr/local/bin/hornero --version")?;
        if !said.starts_with("hornero ") {
            bail!("the installed program says `{said}`");
        }
        // What homes leave that ran here.
        root.run("mkdir -p /run && touch /run/hornero-network.lock")?;
        root.run(&format!("{shell} /usr/local/share/hornero/install.sh --uninstall"))?;
        root.run("! test -e /usr/local/bin/hornero && ! test -e /run/hornero-network.lock")?;
    }
    for (how, refusal) in [
        ("setpriv --reuid=65534 --clear-groups sh", "only root can install"),
        ("setarch i686 sh", "this machine is i686"),
        ("sh -c 'exec \"$0\" --prefix relative'", "no absolute path"),
    ] {
        let said = root.run(&format!("{how} /unpacked/install.sh && exit 1 || true"))?;
        if !said.contains(refusal) {
            bail!("`{how}` was not refused with `{refusal}`: {said}");
        }
    }
    root.run("rm -r /hornero.tar.gz /busybox /only /unpacked")?;
    same(&before, &root.files()?).context("after the script uninstalled")
}

/// Where a home's services can't be taken down, or are another home's, the package stays and says why.
pub fn stays_while_servers_run(root: &Root, package: &Path) -> Result<()> {
    fs::copy(package, root.path().join("hornero.deb"))?;
    root.run("dpkg --install /hornero.deb")?;
    for (home, hint) in [
        ("/srv/other", "hornero down --all --home /srv/other"),
        ("/var/lib/hornero", "hornero down --force"),
    ] {
        // Stands for a control process: it has the program's path and the words of one, and never takes anything down.
        let said = root.run(&format!(
            "cp /usr/bin/perl /usr/bin/hornero; \
             hornero -e 'sleep 60' -- --home {home} serve & \
             until grep -q serve /proc/$!/cmdline; do sleep 0.1; done; \
             dpkg --remove hornero && exit 1; \
             dpkg --status hornero | grep '^Status: .* ok installed'"
        ))?;
        if !said.contains(hint) {
            bail!("removing while `{home}` is served did not say `{hint}`: {said}");
        }
    }
    root.run("dpkg --install /hornero.deb && dpkg --purge hornero && rm /hornero.deb")?;
    Ok(())
}

fn same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Result<()> {
    let mut differences: Vec<String> = Vec::new();
    for (path, kind) in after {
        match before.get(path) {
            None => differences.push(format!("`{path}` stayed behind")),
            Some(earlier) if earlier != kind => {
                differences.push(format!("`{path}` was `{earlier}` and is `{kind}`"));
            }
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    differences.extend(gone.map(|path| format!("`{path}` is gone")));
    if differences.is_empty() { Ok(()) } else { bail!("{}", differences.join(", ")) }
}
