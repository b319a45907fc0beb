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
