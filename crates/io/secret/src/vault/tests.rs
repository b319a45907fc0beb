//! What is kept of secrets, and what of that can be read.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::KEY_FILE;

fn home() -> (tempfile::TempDir, Vault) {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::of(directory.path());
    (directory, vault)
}

fn name(text: &str) -> SecretLabel {
    SecretLabel::new(text).unwrap()
}

fn value(vault: &Vault, secret: &str, version: &SecretVersion) -> Vec<u8> {
    vault.sealed(&name(secret), version).unwrap().open().unwrap().to_vec()
}

/// Every file below a directory with its mode and bytes.
fn files(directory: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, mode, bytes));
        }
    }
    found
}

#[test]
fn what_was_set_is_read_again_and_nothing_of_it_is_in_a_file() {
    let (home, vault) = home();
    assert_eq!(vault.list().unwrap(), []);
    assert_eq!(vault.newest(&name("db")).unwrap(), None);
    let planted = b"planted-7d1f0c-value";
    let first = vault.set(&name("db"), planted).unwrap();
    let second = vault.set(&name("db"), &[0; VALUE_BYTES_MAX]).unwrap();
    vault.set(&name("api-token"), b"x\n").unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    assert_eq!(vault.newest(&name("db")).unwrap(), Some(second.clone()));
    assert_eq!(value(&vault, "db", &first), planted);
    assert_eq!(value(&vault, "db", &second), [0; VALUE_BYTES_MAX]);
    let listed = vault.list().unwrap();
    let listed: Vec<(&str, usize)> =
        listed.iter().map(|kept| (kept.name.as_str(), kept.versions.len())).collect();
    assert_eq!(listed, [("api-token", 1), ("db", 2)]);
    let files = files(home.path());
    assert_eq!(files.len(), 4, "three values and the key");
    for (path, mode, bytes) in &files {
        assert_eq!(*mode, 0o600, "{}", path.display());
        assert!(!bytes.windows(planted.len()).any(|found| found == planted), "{}", path.display());
    }
}

#[test]
fn only_values_of_a_size_are_taken() {
    let (home, vault) = home();
    for bad in [&[][..], &vec![1; VALUE_BYTES_MAX + 1]] {
        assert!(matches!(vault.set(&name("db"), bad), Err(SecretError::Size { .. })));
    }
    assert!(!home.path().join("keys").exists(), "nothing was made");
}

#[test]
fn a_removed_secret_that_is_set_again_has_no_version_of_before() {
    let (_home, vault) = home();
    let before = vault.set(&name("db"), b"one").unwrap();
    vault.remove(&name("db")).unwrap();
    assert!(!vault.has(&name("db"), &before));
    assert!(matches!(vault.sealed(&name("db"), &before), Err(SecretError::Gone { .. })));
    assert!(matches!(vault.remove(&name("db")), Err(SecretError::Unknown { .. })));
    let after = vault.set(&name("db"), b"one").unwrap();
    assert_eq!(after.number, 1);
    assert_ne!(after, before);
}

#[test]
fn old_values_go_but_for_those_that_are_needed_and_the_newest() {
    let (_home, vault) = home();
    let secret = name("db");
    let all: Vec<SecretVersion> =
        (0..8).map(|number| vault.set(&secret, &[number]).unwrap()).collect();
    let gone = vault.prune(&secret, &|version| *version == all[1]).unwrap();
    assert_eq!(gone, [all[2].clone(), all[0].clone()]);
    let left: Vec<u32> =
        vault.versions(&secret).unwrap().iter().map(|kept| kept.version.number).collect();
    assert_eq!(left, [8, 7, 6, 5, 4, 2]);
}

#[test]
fn without_the_right_key_nothing_is_opened_and_none_is_made_in_its_place() {
    let (home, vault) = home();
    let version = vault.set(&name("db"), b"one").unwrap();
    let key = home.path().join(KEY_FILE);
    let aside = home.path().join("aside");
    fs::rename(&key, &aside).unwrap();
    for refused in
        [vault.set(&name("other"), b"x").err(), vault.sealed(&name("db"), &version).err()]
    {
        assert!(matches!(refused, Some(SecretError::KeyMissing { .. })), "{refused:?}");
    }
    // That of another home.
    let other = tempfile::tempdir().unwrap();
    Vault::of(other.path()).set(&name("db"), b"two").unwrap();
    fs::copy(other.path().join(KEY_FILE), &key).unwrap();
    let refused = vault.sealed(&name("db"), &version).unwrap().open().unwrap_err();
    assert!(matches!(refused, SecretError::Sealed { .. }), "{refused}");
    fs::write(&key, "no key\n").unwrap();
    assert!(matches!(vault.sealed(&name("db"), &version), Err(SecretError::KeyInvalid { .. })));
    fs::rename(&aside, &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(vault.sealed(&name("db"), &version), Err(SecretError::KeyExposed { .. })));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(value(&vault, "db", &version), b"one");
}

#[test]
fn what_was_changed_in_a_file_is_refused() {
    let (home, vault) = home();
    let version = vault.set(&name("db"), b"one").unwrap();
    let path = home.path().join(format!("secrets/db/{version}.age"));
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let opened = vault.sealed(&name("db"), &version).unwrap().open();
        assert!(opened.is_err(), "byte {at}");
    }
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(vault.sealed(&name("db"), &version).unwrap().open().is_err(), "{length} bytes");
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert!(vault.sealed(&name("db"), &version).unwrap().open().is_err());
}
