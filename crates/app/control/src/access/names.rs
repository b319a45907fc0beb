//! Names of users and groups, by the host's own files.

use std::fs;

/// The name of a Unix user by `/etc/passwd`, or its number.
pub fn user_name(uid: u32) -> String {
    named("/etc/passwd", uid).unwrap_or_else(|| uid.to_string())
}

/// The name of a Unix group by `/etc/group`.
pub fn group_name(gid: u32) -> Option<String> {
    named("/etc/group", gid)
}

/// The first field of the line whose third is this number, as both files have it.
fn named(file: &str, number: u32) -> Option<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|fields| fields.get(2).is_some_and(|field| field.parse() == Ok(number)));
    found.map(|fields| fields[0].to_owned())
}
