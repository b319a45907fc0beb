//! Which version and commit this program says it is: the workspace's version, or what `cargo xtask package` says.

use std::sync::OnceLock;

/// The version alone, such as `0.2.0`.
pub const VERSION: &str = match option_env!("HORNERO_BUILD_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// What `hornero --version` shows after the name: the version, and the commit where whoever built it said so.
pub fn shown() -> &'static str {
    static SHOWN: OnceLock<String> = OnceLock::new();
    SHOWN.get_or_init(|| match option_env!("HORNERO_BUILD_COMMIT") {
        Some(commit) => format!("{VERSION} ({commit})"),
        None => VERSION.to_owned(),
    })
}

/// Says on stderr that control is of another version, and what to do about it.
pub fn tell_of_other(control: Option<&str>) {
    tell!("{}", about_other(control));
}

fn about_other(control: Option<&str>) -> String {
    match control {
        // Those that don't tell were before those that do.
        None => format!(
            "note: the control process is an older version than this command, {VERSION}; `hornero upgrade` moves control \
             and edge to it"
        ),
        Some(control) if parts(control) < parts(VERSION) => format!(
            "note: the control process is hornero {control}, this command is {VERSION}; `hornero upgrade` moves control \
             and edge to it"
        ),
        Some(control) => format!(
            "note: the control process is hornero {control}, this command is {VERSION}; use the command of {control}"
        ),
    }
}

/// The numbers of a version, for comparing.
fn parts(version: &str) -> Vec<u64> {
    version
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_told_with_what_to_do() {
        let newer = about_other(Some("99.1.0"));
        assert!(newer.contains("99.1.0") && newer.contains(VERSION), "{newer}");
        assert!(!newer.contains("upgrade"), "{newer}");
        let older = about_other(Some("0.0.9"));
        assert!(older.contains("`hornero upgrade`"), "{older}");
        assert!(about_other(None).contains("`hornero upgrade`"));
        assert!(parts("0.10.0") > parts("0.9.12"));
    }
}
