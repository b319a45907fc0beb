//! What a program needs from the system it runs on: libraries, versions of their symbols; and its build id.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use super::architecture;
use crate::run;

/// The C library of Debian 11 and Ubuntu 20.04: distributions of the last five years have it or a newer one.
pub const OLDEST_GLIBC: (u32, u32) = (2, 31);
/// The libraries that every such distribution has in its smallest form.
const LIBRARIES: &[&str] = &[
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
];

/// Refuses a program that not every distribution of the last five years can start.
pub fn check(program: &Path) -> Result<()> {
    let loader = architecture::host()?.loader;
    let everywhere = |library: &str| library == loader || LIBRARIES.contains(&library);
    let mut faults: Vec<String> = libraries(program)?
        .into_iter()
        .filter(|library| !everywhere(library))
        .map(|library| format!("it needs `{library}`"))
        .collect();
    let (major, minor) = OLDEST_GLIBC;
    faults.extend(
        versions(program)?
            .into_iter()
            .filter(|version| glibc(version).is_some_and(|version| version > OLDEST_GLIBC))
            .map(|version| format!("it needs symbols of `{version}`, newer than {major}.{minor}")),
    );
    if faults.is_empty() {
        return Ok(());
    }
    bail!("`{}` would not start everywhere: {}", program.display(), faults.join("; "))
}

/// The shared libraries that the program names itself.
pub fn libraries(program: &Path) -> Result<Vec<String>> {
    let text = readelf("--dynamic", program)?;
    let lines = text.lines().filter(|line| line.contains("(NEEDED)"));
    Ok(lines.filter_map(in_brackets).collect())
}

/// The versions of symbols that it needs, such as `GLIBC_2.17`.
pub fn versions(program: &Path) -> Result<BTreeSet<String>> {
    let text = readelf("--version-info", program)?;
    Ok(needed_versions(&text))
}

/// The newest version of the C library among them.
pub fn newest_glibc(versions: &BTreeSet<String>) -> (u32, u32) {
    versions.iter().filter_map(|version| glibc(version)).max().unwrap_or_default()
}

/// The build id in hex.
pub fn build_id(program: &Path) -> Result<String> {
    let text = readelf("--notes", program)?;
    noted_build_id(&text).with_context(|| format!("`{}` has no build id", program.display()))
}

fn readelf(what: &str, program: &Path) -> Result<String> {
    run::read(Command::new("readelf").env("LC_ALL", "C").args(["--wide", what]).arg(program))
}

fn in_brackets(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('[')?;
    rest.split_once(']').map(|(name, _)| name.to_owned())
}

fn needed_versions(text: &str) -> BTreeSet<String> {
    let needs = text.split("Version needs section").nth(1).unwrap_or_default();
    needs
        .split("Name: ")
        .skip(1)
        .filter_map(|rest| rest.split_ascii_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn noted_build_id(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("Build ID: ")?;
    rest.split_ascii_whitespace().next().map(str::to_owned)
}

fn glibc(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("GLIBC_")?.split('.');
    // `GLIBC_PRIVATE` and `GLIBC_ABI_DT_RELR` belong to one release, which their numbers don't say: never old enough.
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    Some((number(numbers.next()).unwrap_or(u32::MAX), number(numbers.next()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_section_of_needs() {
        let text = "Version symbols section '.gnu.version' contains 3 entries:\n  000: 0 (*local*)\n\n\
            Version needs section '.gnu.version_r' contains 2 entries:\n \
            0x0: Version: 1  File: libc.so.6  Cnt: 2\n  \
            0x0010:   Name: GLIBC_2.28  Flags: none  Version: 15\n  \
            0x0020:   Name: GLIBC_2.2.5  Flags: none  Version: 3\n  \
            0x0030: Version: 1  File: libgcc_s.so.1  Cnt: 1\n  \
            0x0040:   Name: GCC_4.2.0  Flags: none  Version: 4\n";
        let versions = needed_versions(text);
        let expected = ["GCC_4.2.0", "GLIBC_2.2.5", "GLIBC_2.28"].map(str::to_owned);
        assert_eq!(versions, BTreeSet::from(expected));
        assert_eq!(newest_glibc(&versions), (2, 28));
    }

    #[test]
    fn build_ids() {
        let text = "  GNU  0x14\tNT_GNU_BUILD_ID (unique build ID bitstring)\t    Build ID: a091f4\n\nDisplaying";
        assert_eq!(noted_build_id(text).as_deref(), Some("a091f4"));
        assert_eq!(noted_build_id("  GNU  0x10  NT_GNU_ABI_TAG"), None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(glibc("GLIBC_2.4") < glibc("GLIBC_2.31"));
        assert!(glibc("GLIBC_2.31") <= Some(OLDEST_GLIBC));
        assert!(glibc("GLIBC_2.33") > Some(OLDEST_GLIBC));
        assert!(glibc("GLIBC_PRIVATE") > Some(OLDEST_GLIBC));
        assert!(glibc("GLIBC_ABI_DT_RELR") > Some(OLDEST_GLIBC));
        assert_eq!(glibc("GCC_3.0"), None);
    }
}
