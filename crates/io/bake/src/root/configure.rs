//! The script that configures unpacked packages inside the sandbox, as dpkg would have while installing them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    archive::{control, relation},
    deb::{PackageFacts, unpack::INFO_DIR},
};

/// What maintainer scripts are told while packages are configured, by path, and never a part of the image: no service
/// may be started, and nothing runs in here that would have to be started anew. Without the second answer, found before
/// `/usr/bin/ischroot`, the C library's script asks an init to start itself again, and waits a second for it.
pub(crate) const ANSWERS: [(&str, &str); 2] = [
    ("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n"),
    ("usr/sbin/ischroot", "#!/bin/sh\nexit 0\n"),
];

/// Which packages come before all others, in this order.
const FIRST: [&str; 2] = ["base-passwd", "base-files"];

/// The environment of maintainer scripts and of `run` steps.
pub(crate) fn environment(epoch: u64) -> BTreeMap<String, String> {
    [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .chain([("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string())])
    .collect()
}

/// The script: every `preinst` in dependency order, then dpkg.
pub(crate) fn script(new: &[&PackageFacts], architecture: &str) -> String {
    let mut text = String::from("set -e\numask 022\ncd /\n");
    text.push_str(
        "export DPKG_ADMINDIR=/var/lib/dpkg DPKG_FORCE=unsafe-io DPKG_MAINTSCRIPT_NAME=preinst\n",
    );
    text.push_str("export DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_MAINTSCRIPT_DEBUG=0\n");
    text.push_str(&format!("export DPKG_MAINTSCRIPT_ARCH={architecture}\n"));
    text.push_str(
        "preinst() {\n  export DPKG_MAINTSCRIPT_PACKAGE=\"$1\"\n  \"$2.preinst\" install || {\n    \
         echo \"hornero: preinst of $1 failed with exit code $?\" >&2\n    exit 1\n  }\n}\n",
    );
    for facts in in_order(new).into_iter().filter(|facts| facts.has("preinst")) {
        text.push_str(&format!("preinst '{}' '/{INFO_DIR}/{}'\n", facts.name, facts.info_name));
    }
    text.push_str(
        "unset DPKG_ADMINDIR DPKG_FORCE DPKG_MAINTSCRIPT_NAME DPKG_MAINTSCRIPT_PACKAGE\n",
    );
    text.push_str(
        "unset DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT DPKG_MAINTSCRIPT_DEBUG DPKG_MAINTSCRIPT_ARCH\n",
    );
    // Every other package's scripts take the first accounts and directories for granted, without depending on them.
    let first: Vec<&str> =
        FIRST.into_iter().filter(|name| new.iter().any(|facts| facts.name == **name)).collect();
    if !first.is_empty() {
        text.push_str("dpkg --force-unsafe-io --force-depends --configure ");
        text.push_str(&first.join(" "));
        text.push('\n');
    }
    text.push_str("exec dpkg --force-unsafe-io --configure -a\n");
    text
}

/// Packages after those they pre-depend and depend on; the one that makes the first accounts before all.
fn in_order<'f>(new: &[&'f PackageFacts]) -> Vec<&'f PackageFacts> {
    let by_name: BTreeMap<&str, &'f PackageFacts> =
        new.iter().map(|facts| (facts.name.as_str(), *facts)).collect();
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    let first = FIRST.into_iter().filter_map(|name| by_name.get(name));
    for facts in first.chain(by_name.values()) {
        visit(facts, &by_name, &mut seen, &mut order);
    }
    order
}

fn visit<'f>(
    facts: &'f PackageFacts,
    by_name: &BTreeMap<&str, &'f PackageFacts>,
    seen: &mut BTreeSet<&'f str>,
    order: &mut Vec<&'f PackageFacts>,
) {
    // The depth is at most the number of packages: each is entered once.
    if !seen.insert(&facts.name) {
        return;
    }
    let paragraph = control::parse_paragraph(&facts.control).unwrap_or_default();
    // Only what must be configured before the script runs: a cycle is possible in `Depends` alone.
    let field = paragraph.get("Pre-Depends").unwrap_or_default();
    for relation in relation::parse(field).unwrap_or_default().into_iter().flatten() {
        if let Some(needed) = by_name.get(relation.name) {
            visit(needed, by_name, seen, order);
        }
    }
    order.push(facts);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preinst_scripts_run_in_dependency_order() {
        let facts = |name: &str, fields: &str| PackageFacts {
            name: name.to_owned(),
            control: format!("Package: {name}\nVersion: 1\n{fields}"),
            conffiles: Vec::new(),
            triggers: String::new(),
            scripts: vec!["preinst".to_owned()],
            info_name: name.to_owned(),
        };
        let (a, b, c) = (
            facts("a", "Pre-Depends: c\n"),
            facts("base-passwd", ""),
            facts("c", "Pre-Depends: a\n"),
        );
        let text = script(&[&a, &b, &c], "amd64");
        let calls: Vec<&str> = text.lines().filter(|line| line.starts_with("preinst '")).collect();
        assert_eq!(
            calls,
            [
                "preinst 'base-passwd' '/var/lib/dpkg/info/base-passwd'",
                "preinst 'c' '/var/lib/dpkg/info/c'",
                "preinst 'a' '/var/lib/dpkg/info/a'",
            ]
        );
    }
}
