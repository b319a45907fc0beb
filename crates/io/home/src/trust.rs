//! Whose things can be trusted, and how what failed is told.

use std::{fs, io, path::Path};

use rustix::process::geteuid;

use crate::HomeError;

/// Whether a user's things can be trusted: root's, and one's own.
pub(crate) fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

/// A user's name, or number, for people.
pub(crate) fn owner(user: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user)).then(|| name.to_owned())
    });
    name.map_or_else(|| format!("user {user}"), |name| format!("`{name}` ({user})"))
}

/// What failed, and with what.
pub(crate) fn failed(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> HomeError + use<> {
    let path = path.to_owned();
    move |source| HomeError::Failed { action, path, source }
}
