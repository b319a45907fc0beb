//! What the init of a disk or container is told: the image's command, user and environment.

use hornero_store::EntryKind;

use crate::{
    ExportError,
    init_config::{Config, Place},
    work::ExportWork,
};

/// The init as a program without a configuration.
static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));
/// What programs expect when the image says nothing; as in Hornero's own instances.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where an init of the image's own is looked for, as the kernel does.
pub(crate) const IMAGE_INIT: &str = "/sbin/init";

/// The program with its configuration.
pub(crate) fn program(config: &Config) -> Vec<u8> {
    [PROGRAM, &config.encode()].concat()
}

/// What the image says, at `place`.
pub(crate) fn config(work: &ExportWork<'_>, place: Place) -> Result<Config, ExportError> {
    let user = work.store.resolve_user(work.image, &work.config.user)?;
    let host_name = &work.options.host_name;
    let mut env = work.config.env.clone();
    let home = if user.uid == 0 { "/root" } else { "/" };
    for (name, value) in [("PATH", PATH), ("HOME", home), ("HOSTNAME", host_name)] {
        env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    let mut scratch: Vec<(String, u64)> = work
        .config
        .scratch
        .iter()
        .map(|scratch| (scratch.path.clone(), scratch.size_bytes))
        .collect();
    // A directory comes before what is below it.
    scratch.sort();
    Ok(Config {
        place,
        hostname: host_name.clone(),
        command: work.config.command.clone(),
        env: env.into_iter().collect(),
        workdir: work.config.workdir.clone(),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
        scratch,
        handover: String::new(),
    })
}

/// Whether the image can start itself.
pub(crate) fn has_init(work: &ExportWork<'_>) -> bool {
    let found = work.tree.lookup(IMAGE_INIT);
    found.is_ok_and(|entry| matches!(entry.kind, EntryKind::File { .. }))
}

pub(crate) fn check_host_name(name: &str) -> Result<(), ExportError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let fits = (1..=63).contains(&name.len());
    if fits && name.bytes().all(allowed) && !name.starts_with('-') && !name.ends_with('-') {
        Ok(())
    } else {
        Err(ExportError::HostName(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        for good in ["a", "web-1", "A9", &"x".repeat(63)] {
            assert!(check_host_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a.b", "ä", &"x".repeat(64)] {
            assert!(check_host_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_init_is_static() {
        assert_eq!(&PROGRAM[..4], b"\x7fELF");
        // Program headers: none asks for an interpreter (PT_INTERP, 3).
        let half = |at: usize| u16::from_le_bytes([PROGRAM[at], PROGRAM[at + 1]]);
        let table = u64::from_le_bytes(PROGRAM[32..40].try_into().unwrap()) as usize;
        for index in 0..usize::from(half(56)) {
            assert_ne!(PROGRAM[table + index * usize::from(half(54))], 3);
        }
    }
}
