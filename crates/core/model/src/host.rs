//! What a host can and can't do, as it was seen: plain data, for `status` and `doctor` to show.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How well a host can do something.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// As it should be.
    Pass,
    /// It works, at a price.
    Degraded,
    /// It does not work, and neither does what needs it.
    Missing,
}

/// Something that Hornero needs of a host, and whether it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostFeature {
    /// Its stable name for programs, such as `root_way`.
    pub id: String,
    /// What it is, in a few words for people.
    pub name: String,
    /// How well the host can do it.
    pub state: HostState,
    /// What was seen: what was tried, and the kernel's answer; may be empty where it passes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What is lost; empty where nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cost: String,
    /// What to do about it: a line to run, or a few words; empty where there is nothing to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl HostFeature {
    /// Something that is as it should be.
    pub fn pass(id: &str, name: &str, seen: impl Into<String>) -> Self {
        Self::new(id, name, HostState::Pass, seen.into())
    }

    /// Something that works at a price.
    pub fn degraded(id: &str, name: &str, reason: impl Into<String>) -> Self {
        Self::new(id, name, HostState::Degraded, reason.into())
    }

    /// Something that does not work.
    pub fn missing(id: &str, name: &str, reason: impl Into<String>) -> Self {
        Self::new(id, name, HostState::Missing, reason.into())
    }

    /// As it is, with what is lost.
    #[must_use]
    pub fn costs(self, cost: impl Into<String>) -> Self {
        Self { cost: cost.into(), ..self }
    }

    /// As it is, with what to do about it.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    fn new(id: &str, name: &str, state: HostState, reason: String) -> Self {
        let (cost, remedy) = (String::new(), String::new());
        Self { id: id.to_owned(), name: name.to_owned(), state, reason, cost, remedy }
    }
}

/// The line that brings a kernel module which is not there, by the package of a distribution; `distribution` are the words
/// of its `ID` and `ID_LIKE`, `release` is the running kernel's, and `modules_there` whether modules of that are installed.
///
/// Source: os-release(5); Ubuntu splits its modules since 18.04, the RHEL and Fedora families since 8 and 21.
pub fn install_line(
    distribution: &[&str],
    release: &str,
    module: &str,
    modules_there: bool,
) -> String {
    let is = |names: &[&str]| distribution.iter().any(|word| names.contains(word));
    let package = if is(&["ubuntu"]) {
        format!("apt-get install linux-modules-extra-{release}")
    } else if is(&["rhel", "fedora", "centos"]) {
        format!("dnf install kernel-modules-extra-{release}")
    } else if is(&["suse", "opensuse", "sles"]) {
        "zypper install kernel-default".to_owned()
    } else if is(&["debian"]) && !modules_there {
        format!("apt-get install linux-image-{release}")
    } else if modules_there {
        return format!("modprobe {module}");
    } else {
        format!("install the modules of kernel {release}")
    };
    format!("{package} && modprobe {module}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_left_out() {
        let feature =
            HostFeature::degraded("root_way", "roots", "no EROFS from files").costs("time");
        let json = serde_json::to_string(&feature).unwrap();
        let expected = r#"{"id":"root_way","name":"roots","state":"degraded","reason":"no EROFS from files","cost":"time"}"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<HostFeature>(&json).unwrap(), feature);
    }

    #[test]
    fn the_package_is_that_of_the_distribution() {
        let check = |distribution: &[&str], there, expected: &str| {
            assert_eq!(install_line(distribution, "6.8.0-1-generic", "erofs", there), expected);
        };
        check(
            &["ubuntu", "debian"],
            true,
            "apt-get install linux-modules-extra-6.8.0-1-generic && modprobe erofs",
        );
        check(
            &["rocky", "rhel", "centos", "fedora"],
            true,
            "dnf install kernel-modules-extra-6.8.0-1-generic && modprobe erofs",
        );
        check(&["debian"], true, "modprobe erofs");
        check(&["debian"], false, "apt-get install linux-image-6.8.0-1-generic && modprobe erofs");
        check(&["arch"], true, "modprobe erofs");
        check(&[], false, "install the modules of kernel 6.8.0-1-generic && modprobe erofs");
    }
}
