//! The control member of a package file.

use std::io::{self, Read as _};

use super::ar::{DebError, Members, read_members};
use crate::limits;

/// The text of a package's `control` file.
pub fn read_control(deb: &[u8]) -> Result<String, DebError> {
    let members = read_members(deb)?;
    for (name, _, contents) in read_control_files(&members)? {
        if name == "control" {
            return String::from_utf8(contents)
                .map_err(|_| DebError("its control file is not valid UTF-8".into()));
        }
    }
    Err(DebError("it has no control file".into()))
}

/// Every file of the control member: name, whether executable, contents.
pub fn read_control_files(members: &Members<'_>) -> Result<Vec<(String, bool, Vec<u8>)>, DebError> {
    let broken = |error: io::Error| DebError(format!("its control member is broken: {error}"));
    let mut files = Vec::new();
    let mut archive = tar::Archive::new(members.control().take(limits::CONTROL_BYTES));
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path_bytes().into_owned();
        let name = String::from_utf8_lossy(&path).trim_start_matches("./").to_owned();
        let plain = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !plain || name.starts_with('.') {
            return Err(DebError(format!("its control member has a file `{name}`")));
        }
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).map_err(broken)?;
        files.push((name, executable, contents));
    }
    Ok(files)
}
