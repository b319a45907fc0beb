//! Whether a directory may be worked in by itself, as root: nobody else may change what it declares.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use hornero_model::{Directory, error_chain};

/// Write permission of the group or of everybody.
const OTHERS_WRITE: u32 = 0o022;

/// Why nothing is done by itself in a directory; none where it may be.
pub fn refused(directory: &Directory) -> Option<String> {
    let path = Path::new(directory.as_str());
    if !path.is_dir() {
        return Some(format!("`{directory}` is not there any more"));
    }
    match hornero_home::resolve(path) {
        Ok(resolved) if resolved == path => {}
        Ok(_) => return Some(format!("`{directory}` leads elsewhere by now")),
        Err(error) => {
            let why = error_chain(&error);
            return Some(format!("`{directory}` is not root's alone: {why}"));
        }
    }
    let file = path.join("hornero.hcl");
    let shown = file.display();
    match fs::symlink_metadata(&file) {
        Ok(found) if !found.is_file() => Some(format!("`{shown}` is no plain file")),
        Ok(found) if found.uid() != 0 => Some(format!("`{shown}` is not root's")),
        Ok(found) if found.mode() & OTHERS_WRITE != 0 => {
            Some(format!("`{shown}` may be changed by others than root"))
        }
        Ok(_) => None,
        Err(error) => Some(format!("`{shown}` can't be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    /// As root: others can't give files away.
    #[test]
    fn a_directory_that_somebody_else_may_change_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap().join("project");
        let directory = Directory::new(path.to_str().unwrap()).unwrap();
        let refused = || refused(&directory);
        assert!(refused().unwrap().contains("not there any more"));
        fs::create_dir(&path).unwrap();
        assert!(refused().unwrap().contains("can't be read"), "there is no file");
        let file = path.join("hornero.hcl");
        fs::write(&file, "").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&path, 0o755);
        mode(&file, 0o644);
        assert_eq!(refused(), None);
        mode(&file, 0o666);
        assert!(refused().unwrap().contains("may be changed by others"));
        mode(&file, 0o644);
        mode(&path, 0o777);
        assert!(refused().unwrap().contains("not root's alone"));
        mode(&path, 0o755);
        chown(&file, Some(12_345), None).unwrap();
        assert!(refused().unwrap().contains("is not root's"));
        chown(&file, Some(0), None).unwrap();
        chown(&path, Some(12_345), None).unwrap();
        assert!(refused().unwrap().contains("not root's alone"));
        chown(&path, Some(0), None).unwrap();
        let elsewhere = root.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(refused().unwrap().contains("leads elsewhere"));
    }
}
