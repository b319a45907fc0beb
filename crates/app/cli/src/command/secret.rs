//! `hornero secret`: values that servers get and nobody else.

use std::{
    collections::BTreeSet,
    io::{IsTerminal as _, Read as _},
    path::Path,
};

use hornero_model::{JobName, ReleaseRef, SecretFile, SecretLabel, SecretVersion};
use hornero_secret::{KeptSecret, KeptVersion, VALUE_BYTES_MAX, Vault};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::{
    arguments::SecretCommand,
    failure::{Failure, exit},
    output::{Table, Tone, print_json, print_text},
    reports::{ListedSecret, RemovedSecret, SecretReport},
};

/// `hornero secret`.
pub fn run(home: &Path, json_wanted: bool, command: SecretCommand) -> Result<(), Failure> {
    match command {
        SecretCommand::Set { name } => {
            hornero_sandbox::leave_no_core()?;
            keep(home, json_wanted, &name, &from_stdin(&name)?)
        }
        SecretCommand::Rotate { name, bytes } => {
            hornero_sandbox::leave_no_core()?;
            known(home, &name)?;
            keep(home, json_wanted, &name, &random(usize::from(bytes))?)
        }
        SecretCommand::Ls => list(home, json_wanted),
        SecretCommand::Rm { name, force } => remove(home, json_wanted, &name, force),
    }
}

/// All of standard input; it is in memory once.
fn from_stdin(name: &SecretLabel) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let text = "the value of a secret is read from standard input, which is a terminal";
        return Err(Failure::new(exit::USAGE, text)
            .hint(format!("`hornero secret set {name} < FILE`: what is typed would be shown")));
    }
    // Room for one byte more than allowed: a buffer that grows leaves copies behind. Not through the standard library's
    // own buffer, which nobody overwrites.
    let mut value = Zeroizing::new(Vec::with_capacity(VALUE_BYTES_MAX + 1));
    let mut file = std::fs::File::from(rustix::io::dup(&stdin).map_err(std::io::Error::from)?);
    let mut piece = Zeroizing::new([0; 4_096]);
    while value.len() <= VALUE_BYTES_MAX {
        let room = (VALUE_BYTES_MAX + 1 - value.len()).min(piece.len());
        match file.read(&mut piece[..room]) {
            Ok(0) => break,
            Ok(length) => value.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    if value.ends_with(b"\n") {
        tell!(
            "note: the value ends with a line break, which is part of it; `printf %s` writes none"
        );
    }
    Ok(value)
}

/// Random text of so many random bytes.
pub fn random(bytes: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // Six bits a letter.
    let mut value = Zeroizing::new(vec![0; (bytes * 8).div_ceil(6)]);
    let filled = SystemRandom::new().fill(&mut value);
    filled.map_err(|_| Failure::new(exit::FAILED, "the kernel gives no random numbers"))?;
    for letter in value.iter_mut() {
        *letter = LETTERS[usize::from(*letter % 64)];
    }
    Ok(value)
}

/// The values of a secret, newest first.
fn known(home: &Path, name: &SecretLabel) -> Result<Vec<KeptVersion>, Failure> {
    let versions = Vault::of(home).versions(name)?;
    match versions.is_empty() {
        true => Err(hornero_secret::SecretError::Unknown { name: name.clone() }.into()),
        false => Ok(versions),
    }
}

/// Which kept releases have which values.
fn in_use(home: &Path) -> Result<Vec<(ReleaseRef, SecretFile)>, Failure> {
    hornero_control::secrets_in_use(home).map_err(|error| Failure::of(&*error))
}

/// Which jobs have which values of a secret.
fn of_jobs(home: &Path, name: &SecretLabel) -> Result<Vec<(JobName, SecretFile)>, Failure> {
    let all = hornero_control::secrets_of_jobs(home).map_err(|error| Failure::of(&*error))?;
    Ok(all.into_iter().filter(|(_, secret)| secret.name == *name).collect())
}

fn keep(home: &Path, json_wanted: bool, name: &SecretLabel, value: &[u8]) -> Result<(), Failure> {
    let home = hornero_home::prepare(home)?;
    let vault = Vault::of(&home);
    let version = vault.set(name, value)?;
    let uses = in_use(&home)?;
    let uses: Vec<_> = uses.into_iter().filter(|(_, secret)| secret.name == *name).collect();
    let of_jobs = of_jobs(&home, name)?;
    let used =
        || uses.iter().map(|(_, secret)| secret).chain(of_jobs.iter().map(|(_, secret)| secret));
    let is_needed = |version: &SecretVersion| used().any(|secret| secret.version == *version);
    let dropped = vault.prune(name, &is_needed)?;
    let services: BTreeSet<_> = uses.into_iter().map(|(release, _)| release.service).collect();
    if json_wanted {
        return print_json(&SecretReport {
            name: name.clone(),
            version,
            dropped,
            services: services.into_iter().collect(),
        });
    }
    print_text(&format!("secret `{name}` is set: version {version}\n"))?;
    match services.is_empty() {
        true => Ok(()),
        false => {
            let names: Vec<String> = services.iter().map(|name| format!("`{name}`")).collect();
            print_text(&format!("`hornero up` replaces the servers of {}\n", names.join(", ")))
        }
    }
}

fn list(home: &Path, json_wanted: bool) -> Result<(), Failure> {
    let kept = Vault::of(home).list()?;
    let uses = in_use(home)?;
    let listed: Vec<ListedSecret> = kept.into_iter().map(|secret| listed(secret, &uses)).collect();
    if json_wanted {
        return print_json(&listed);
    }
    let mut table = Table::with_head(&["SECRET", "VERSION", "SET", "VERSIONS", "RELEASES"]);
    for secret in &listed {
        let releases: Vec<String> = secret.releases.iter().map(ToString::to_string).collect();
        table.row(vec![
            (secret.name.to_string(), Tone::Plain),
            (secret.version.to_string(), Tone::Plain),
            (secret.created.to_string(), Tone::Quiet),
            (secret.versions.to_string(), Tone::Quiet),
            (releases.join(" "), Tone::Plain),
        ]);
    }
    table.print()
}

fn listed(secret: KeptSecret, uses: &[(ReleaseRef, SecretFile)]) -> ListedSecret {
    let KeptSecret { name, mut versions } = secret;
    let count = versions.len();
    // Invariant: a secret that is listed has a value.
    let newest = versions.swap_remove(0);
    let releases = uses.iter().filter(|(_, used)| used.name == name);
    ListedSecret {
        releases: releases.map(|(release, _)| release.clone()).collect(),
        name,
        version: newest.version,
        created: newest.created,
        versions: count,
    }
}

fn remove(home: &Path, json_wanted: bool, name: &SecretLabel, force: bool) -> Result<(), Failure> {
    let versions = known(home, name)?.len();
    if !force {
        let releases: Vec<String> = in_use(home)?
            .into_iter()
            .filter(|(_, secret)| secret.name == *name)
            .map(|(release, _)| format!("`{release}`"))
            .chain(of_jobs(home, name)?.into_iter().map(|(job, _)| format!("job `{job}`")))
            .collect();
        if !releases.is_empty() {
            let text = format!("secret `{name}` is one of {}", releases.join(", "));
            return Err(Failure::new(exit::REFUSED, text).word("secret_in_use").hint(
                "nothing was changed; without it no server of those is started again; `--force` removes it all the same",
            ));
        }
    }
    Vault::of(home).remove(name)?;
    if json_wanted {
        return print_json(&RemovedSecret { name: name.clone(), versions });
    }
    print_text(&format!("secret `{name}` is removed\n"))
}
