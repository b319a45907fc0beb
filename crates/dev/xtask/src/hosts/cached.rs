//! Things made once and used again as long as what they were made from is the same.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The directory `dir`, filled by `make` unless it was filled from the very same `key` before. One that was not filled
/// to its end does not count.
pub fn directory(dir: &Path, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let key_file = dir.join("made-from");
    if fs::read_to_string(&key_file).ok().as_deref() == Some(key) {
        return Ok(dir.to_owned());
    }
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove `{}`", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
    make(dir)?;
    fs::write(&key_file, key).with_context(|| format!("cannot write `{}`", key_file.display()))?;
    Ok(dir.to_owned())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn made_again_only_from_another_key_or_after_a_failure() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("root");
        let mut made = 0;
        let mut make = |key: &str, fails: bool| {
            directory(&dir, key, |dir| {
                made += 1;
                fs::write(dir.join("file"), key)?;
                if fails { bail!("interrupted") } else { Ok(()) }
            })
            .is_ok()
        };
        assert!(make("one", false) && make("one", false) && make("two", false));
        assert!(!make("three", true));
        assert!(make("three", false));
        assert_eq!(made, 4);
        assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "three");
    }
}
