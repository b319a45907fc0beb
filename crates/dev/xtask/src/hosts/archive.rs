//! Debian's archive for roots and kernels of any release, with lists of its own: the host's apt stays as it is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::run;

/// Lists younger than this are not fetched again: a security update a day late tells nothing about Hornero.
const LISTS_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A mirror that speaks plain HTTP, as Debian's do: what it serves is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Its name.
    pub host: String,
}

/// The archive of one release.
pub struct Archive {
    dir: PathBuf,
    suite: String,
}

impl Archive {
    /// The archive of `suite` on the mirrors that the host uses, its lists in `dir`.
    pub fn open(dir: &Path, suite: &str) -> Result<Self> {
        let archive = Self { dir: dir.to_owned(), suite: suite.to_owned() };
        for part in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(dir.join(part))
                .with_context(|| format!("cannot create `{}`", dir.join(part).display()))?;
        }
        let sources = sources_of(suite)?;
        let changed = fs::read_to_string(archive.sources()).ok().as_deref() != Some(&sources);
        fs::write(archive.sources(), &sources)?;
        fs::write(dir.join("status"), "")?;
        archive.update(changed)?;
        Ok(archive)
    }

    /// The mirror that all of its sources are on.
    pub fn mirror(&self) -> Result<Mirror> {
        let sources = fs::read_to_string(self.sources())?;
        mirror_of(&sources)
    }

    /// The file with its sources, one a line.
    pub fn sources(&self) -> PathBuf {
        self.dir.join("sources.list")
    }

    /// What tells this state of the archive from another: the dates of its releases.
    pub fn state(&self) -> Result<String> {
        let mut dates = Vec::new();
        for entry in fs::read_dir(self.dir.join("lists"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.ends_with("Release") {
                continue;
            }
            let text = fs::read_to_string(entry.path())
                .with_context(|| format!("cannot read `{}`", entry.path().display()))?;
            let date = text.lines().find_map(|line| line.strip_prefix("Date: "));
            dates.push(format!("{name} {}", date.unwrap_or("without a date")));
        }
        ensure!(!dates.is_empty(), "apt has no lists of `{}`", self.suite);
        dates.sort();
        Ok(dates.join("\n"))
    }

    /// The package that a meta package of a kernel depends on now.
    pub fn kernel_package(&self, meta: &str) -> Result<String> {
        let shown = run::read(self.apt("apt-cache").args(["show", "--no-all-versions", meta]))
            .with_context(|| format!("`{}` has no package `{meta}`", self.suite))?;
        let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "));
        let depends = depends.with_context(|| format!("`{meta}` depends on nothing"))?;
        let kernel = depends
            .split([',', ' '])
            .find(|word| word.starts_with("linux-image-"))
            .with_context(|| format!("`{meta}` depends on no kernel but on `{depends}`"))?;
        Ok(kernel.to_owned())
    }

    /// Fetches a package's file into `into`, checked by apt, and returns its path.
    pub fn download(&self, package: &str, into: &Path) -> Result<PathBuf> {
        let mut apt = self.apt("apt-get");
        run::check(
            apt.args(["-q", "download", package]).current_dir(into).stdout(std::io::stderr()),
        )?;
        let mut found = Vec::new();
        for entry in fs::read_dir(into)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("{package}_")) && name.ends_with(".deb") {
                found.push(into.join(name));
            }
        }
        match found.as_slice() {
            [file] => Ok(file.clone()),
            _ => bail!("apt fetched {found:?} for `{package}`"),
        }
    }

    fn update(&self, changed: bool) -> Result<()> {
        let stamp = self.dir.join("updated");
        let age = fs::metadata(&stamp).and_then(|found| found.modified()).ok();
        let age = age.and_then(|modified| modified.elapsed().ok());
        if !changed && age.is_some_and(|age| age < LISTS_LIFETIME) {
            return Ok(());
        }
        let mut apt = self.apt("apt-get");
        let updated = run::check(apt.args(["-q", "update"]).stdout(std::io::stderr()));
        match updated {
            Ok(()) => fs::write(&stamp, "")?,
            Err(error) if age.is_some() && !changed => {
                eprintln!("hosts: the lists of `{}` stay as they were: {error:#}", self.suite);
            }
            Err(error) => return Err(error).context("are the mirrors in /etc/apt reachable?"),
        }
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let dir = self.dir.display();
        for option in [
            format!("Dir::State={dir}"),
            format!("Dir::State::status={dir}/status"),
            format!("Dir::Cache={dir}/cache"),
            format!("Dir::Etc::SourceList={dir}/sources.list"),
            format!("Dir::Etc::SourceParts={dir}/parts"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures::=amd64".to_owned(),
            // Root writes below `target`, where apt's own user may not read.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }
}

fn mirror_of(sources: &str) -> Result<Mirror> {
    let uris = sources.split_ascii_whitespace().filter(|word| word.contains("://"));
    let mut hosts = Vec::new();
    for uri in uris {
        let rest = uri.strip_prefix("http://");
        let host = rest.and_then(|rest| rest.split('/').next()).filter(|host| !host.contains(':'));
        hosts.push(host.with_context(|| format!("`{uri}` is no plain HTTP on port 80"))?);
    }
    hosts.dedup();
    match hosts.as_slice() {
        [host] => Ok(Mirror { host: (*host).to_owned() }),
        _ => bail!("the machine can be let out to one mirror only, not to {hosts:?}"),
    }
}

/// One-line sources of `suite` made from the host's sources of its own release.
fn sources_of(suite: &str) -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read `/etc/os-release`")?;
    let own = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let own = own.context("`/etc/os-release` has no codename")?.trim_matches('"');
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(parts.map(|entry| entry.path()));
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        lines.extend(translated(&text, own, suite));
    }
    lines.dedup();
    ensure!(!lines.is_empty(), "no apt source of this host has `{own}`, so no mirror is known");
    Ok(lines.join("\n") + "\n")
}

/// The lines of a sources file that speak of `own` and its security updates, for `suite`.
fn translated(text: &str, own: &str, suite: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |uri: &str, name: &str, signed_by: Option<&str>| {
        // The main suite and its security updates; others such as backports don't exist for every release.
        let name = match name.strip_prefix(own) {
            Some("") => suite.to_owned(),
            Some("-security") => format!("{suite}-security"),
            _ => return,
        };
        let options = signed_by.map_or(String::new(), |key| format!("[signed-by={key}] "));
        lines.push(format!("deb {options}{uri} {name} main"));
    };
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
                .filter(|value| !value.is_empty())
        };
        if let (Some(uris), Some(suites)) = (field("URIs"), field("Suites")) {
            let uri = uris.split_ascii_whitespace().next().unwrap_or_default();
            let key = field("Signed-By").filter(|key| key.starts_with('/'));
            suites.split_ascii_whitespace().for_each(|name| add(uri, name, key));
        }
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("deb ")) {
        let (options, rest) = match line.trim_start().strip_prefix('[') {
            Some(rest) => rest.split_once(']').unwrap_or(("", rest)),
            None => ("", line),
        };
        let key =
            options.split_ascii_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        if let [uri, name, ..] = rest.split_ascii_whitespace().collect::<Vec<_>>().as_slice() {
            add(uri, name, key);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_another_release_keep_mirror_and_key() {
        let stanzas = "Types: deb\n# snapshot\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n\
            Components: main\nSigned-By: /key\n\nTypes: deb\nURIs: http://mirror/security\n\
            Suites: bookworm-security\nSigned-By: /key\n\nTypes: deb\nURIs: http://mirror/other\nSuites: nodistro\n";
        let expected = [
            "deb [signed-by=/key] http://mirror/debian trixie main",
            "deb [signed-by=/key] http://mirror/security trixie-security main",
        ];
        assert_eq!(translated(stanzas, "bookworm", "trixie"), expected);
        let lines = "# deb http://old bookworm main\ndeb [arch=amd64 signed-by=/key] http://mirror bookworm main\n\
            deb-src http://mirror bookworm main\ndeb http://mirror bookworm-security main\n";
        let expected = [
            "deb [signed-by=/key] http://mirror bullseye main",
            "deb http://mirror bullseye-security main",
        ];
        assert_eq!(translated(lines, "bookworm", "bullseye"), expected);
        assert_eq!(translated(stanzas, "sid", "trixie"), Vec::<String>::new());
    }

    #[test]
    fn a_machine_is_let_out_to_one_plain_mirror() {
        let mirror =
            mirror_of("deb [signed-by=/k] http://m/debian a main\ndeb http://m/s a main\n");
        assert_eq!(mirror.unwrap().host, "m");
        assert!(mirror_of("deb https://m/debian a main\n").is_err());
        assert!(mirror_of("deb http://m:3142/debian a main\n").is_err());
        assert!(mirror_of("deb http://m/debian a main\ndeb http://n/s a main\n").is_err());
    }
}
