//! Which of our crates may depend on which, and why; and what a core crate must do without.

use anyhow::{Result, bail};

use crate::metadata::{Metadata, Package};

/// Allowed arrows: from, to, why.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("hornero-spec", "hornero-model", "a spec is made of the shared words"),
    (
        "hornero-spec",
        "hornero-calendar",
        "what is declared for no day is refused where it is declared (decision 0054)",
    ),
    ("hornero-plan", "hornero-model", "what is compared are releases and specs"),
    ("hornero-plan", "hornero-rollout", "what is known of the world is folded in one place"),
    ("hornero-rollout", "hornero-judge", "a canary goes on by its verdicts (decision 0032)"),
    ("hornero-rollout", "hornero-model", "its states and effects name releases and instances"),
    ("hornero-calendar", "hornero-model", "it tells moments"),
    ("hornero-judge", "hornero-model", "counters and latencies are the edge's"),
    (
        "hornero-conservation",
        "hornero-model",
        "facts name releases and instances; nothing else, so that it stays independent",
    ),
    ("hornero-home", "hornero-model", "which control is obeyed goes by its term (decision 0051)"),
    ("hornero-ledger", "hornero-home", "its files are a home's (decision 0022)"),
    ("hornero-net", "hornero-home", "its files are a home's (decision 0022)"),
    ("hornero-edge", "hornero-home", "its files are a home's (decision 0022)"),
    ("hornero-engine", "hornero-home", "its files are a home's (decision 0022)"),
    ("hornero-control", "hornero-home", "it makes the home and locks it (decision 0022)"),
    ("hornero-care", "hornero-model", "heads and images are named by digests"),
    ("hornero-care", "hornero-home", "it makes homes and looks whose they are"),
    ("hornero-care", "hornero-ledger", "a backup begins with a copy of the ledger"),
    ("hornero-care", "hornero-store", "it knows what images consist of"),
    ("hornero-cli", "hornero-care", "`home`"),
    ("hornero-cli", "hornero-home", "no command works on a home of somebody else (decision 0022)"),
    ("hornero-store", "hornero-model", "objects and images are named by digests"),
    ("hornero-sandbox", "hornero-model", "limits and exit causes"),
    ("hornero-net", "hornero-model", "addresses belong to services and instances"),
    ("hornero-apt", "hornero-model", "packages are named by digests, and locked by image"),
    ("hornero-apt", "hornero-rebase", "Debian's fields, relations and versions are read there"),
    ("hornero-bake", "hornero-apt", "packages come from there, and their lock (decision 0028)"),
    ("hornero-bake", "hornero-model", "it makes images"),
    ("hornero-bake", "hornero-spec", "what it bakes is defined there"),
    ("hornero-bake", "hornero-store", "what it bakes goes there (decision 0001)"),
    (
        "hornero-bake",
        "hornero-sandbox",
        "build steps and maintainer scripts run there (decision 0001)",
    ),
    (
        "hornero-bake",
        "hornero-net",
        "a build step with `network = true` needs a way out (decision 0001)",
    ),
    ("hornero-bake", "hornero-dpkg", "packages are installed as dpkg would (decision 0027)"),
    ("hornero-dpkg", "hornero-model", "contents of packages are named by digests"),
    ("hornero-dpkg", "hornero-rebase", "control files and relations are read there"),
    ("hornero-dpkg", "hornero-store", "packages become layers (decision 0027)"),
    ("hornero-rebase", "hornero-model", "needs and refusals name layers by digest"),
    ("hornero-sbom", "hornero-model", "components name contents by digest"),
    ("hornero-provenance", "hornero-model", "a statement is about a digest"),
    ("hornero-bake", "hornero-rebase", "it records what the proof is made from (decision 0012)"),
    ("hornero-oci", "hornero-model", "what it moves is named by digests"),
    (
        "hornero-oci",
        "hornero-provenance",
        "statements that came have to be of the image and key they claim",
    ),
    (
        "hornero-oci",
        "hornero-store",
        "what it moves comes from there and goes there (decision 0012)",
    ),
    ("hornero-export", "hornero-model", "what it writes is named by digests"),
    ("hornero-export", "hornero-store", "what it writes comes from there (decision 0012)"),
    ("hornero-verify", "hornero-model", "what it compares is named by digests"),
    ("hornero-verify", "hornero-store", "what servers should equal is there (decision 0012)"),
    ("hornero-doctor", "hornero-model", "facts hold times"),
    (
        "hornero-net",
        "hornero-doctor",
        "the packet filter that it reads is judged there (decision 0017)",
    ),
    ("hornero-host", "hornero-doctor", "what it reads is decided on there (decision 0017)"),
    ("hornero-host", "hornero-model", "facts hold times"),
    ("hornero-host", "hornero-net", "the network is tried by who uses it (decision 0017)"),
    ("hornero-host", "hornero-sandbox", "sandboxes are tried by who starts them (decision 0017)"),
    ("hornero-engine-port", "hornero-model", "specs and exits name releases and instances"),
    ("hornero-engine", "hornero-engine-port", "it stands behind it (decision 0039)"),
    ("hornero-volume", "hornero-home", "its files are a home's (decision 0063)"),
    ("hornero-volume", "hornero-model", "volumes and leases are named there"),
    (
        "hornero-volume",
        "hornero-sandbox",
        "a loop device and what is on it are mounted there (decision 0063)",
    ),
    (
        "hornero-engine",
        "hornero-volume",
        "who starts a server gives it its volumes (decision 0063)",
    ),
    (
        "hornero-autopsy",
        "hornero-engine-port",
        "what was seen of a server is in the words of its engine (decision 0080)",
    ),
    ("hornero-autopsy", "hornero-model", "causes and figures are named there"),
    (
        "hornero-forensics",
        "hornero-autopsy",
        "it writes and reads what is decided on there (decision 0080)",
    ),
    (
        "hornero-forensics",
        "hornero-home",
        "bundles and recordings are files of a home (decisions 0080, 0084)",
    ),
    ("hornero-forensics", "hornero-model", "a bundle has a seal and a digest"),
    (
        "hornero-control",
        "hornero-autopsy",
        "it says what it keeps of a server that failed (decision 0080)",
    ),
    (
        "hornero-control",
        "hornero-forensics",
        "it keeps bundles and recordings of its home (decisions 0080, 0084)",
    ),
    ("hornero-cli", "hornero-autopsy", "`autopsy` (decision 0080)"),
    ("hornero-cli", "hornero-state-lint", "`state-lint` (decision 0077)"),
    ("hornero-state-lint", "hornero-model", "what servers have written is told there"),
    ("hornero-cli", "hornero-forensics", "`autopsy` and `bundle` (decision 0080)"),
    ("hornero-guard", "hornero-model", "what is asked is declared there (decision 0075)"),
    (
        "hornero-control",
        "hornero-guard",
        "it asks servers before they are taken away (decision 0075)",
    ),
    (
        "hornero-telemetry",
        "hornero-engine-port",
        "which lines are asked for, and what a page of them is, is said there (decision 0078)",
    ),
    ("hornero-telemetry", "hornero-home", "its files are a home's (decision 0078)"),
    ("hornero-telemetry", "hornero-model", "lines have times"),
    ("hornero-engine", "hornero-telemetry", "what instances write is kept there (decision 0078)"),
    (
        "hornero-control",
        "hornero-telemetry",
        "what lines say of themselves is read there (decision 0078)",
    ),
    ("hornero-secret", "hornero-home", "its files are a home's (decision 0049)"),
    ("hornero-secret", "hornero-model", "secrets and their values have names (decision 0049)"),
    (
        "hornero-engine",
        "hornero-secret",
        "who starts a server gives it its secrets (decision 0049)",
    ),
    ("hornero-control", "hornero-volume", "it owns the volumes of its home (decision 0064)"),
    ("hornero-control", "hornero-secret", "it looks whether they are there (decision 0049)"),
    ("hornero-cli", "hornero-secret", "`secret`, and which values a release is to have"),
    ("hornero-engine", "hornero-store", "roots of instances are there (decision 0001)"),
    ("hornero-engine", "hornero-verify", "it knows which processes are whose (decision 0039)"),
    ("hornero-engine", "hornero-model", "it makes instances"),
    ("hornero-engine", "hornero-sandbox", "instances run there (decision 0001)"),
    ("hornero-engine", "hornero-net", "instances get an address (decision 0001)"),
    ("hornero-edge", "hornero-model", "route tables and statuses"),
    ("hornero-ledger", "hornero-model", "events and receipts"),
    ("hornero-api", "hornero-model", "messages are made of the shared words"),
    ("hornero-driver", "hornero-model", "it carries effects and observations"),
    ("hornero-driver", "hornero-rollout", "it steps the machine"),
    ("hornero-driver", "hornero-conservation", "it lets the watchdog look before it acts"),
    ("hornero-control", "hornero-calendar", "it asks when jobs come round"),
    ("hornero-control", "hornero-model", "it joins the parts"),
    ("hornero-control", "hornero-api", "it answers it"),
    ("hornero-control", "hornero-plan", "it answers `plan`"),
    ("hornero-control", "hornero-rollout", "it answers `status` from the world"),
    ("hornero-control", "hornero-driver", "it runs it over the real ports"),
    ("hornero-control", "hornero-store", "it verifies images before instances start"),
    ("hornero-control", "hornero-net", "it owns the home's network"),
    ("hornero-control", "hornero-engine", "it opens the local engine, in one place"),
    ("hornero-control", "hornero-engine-port", "whichever engine there is, it uses by its port"),
    ("hornero-control", "hornero-edge", "a real port"),
    ("hornero-control", "hornero-ledger", "a real port"),
    (
        "hornero-control",
        "hornero-provenance",
        "nothing starts without a proof of where it came from",
    ),
    ("hornero-cli", "hornero-sandbox", "git, which runs what a repository names, runs there"),
    ("hornero-cli", "hornero-sbom", "`image sbom`"),
    ("hornero-cli", "hornero-scaffold", "`init`"),
    ("hornero-cli", "hornero-provenance", "it signs what it bakes"),
    ("hornero-cli", "hornero-oci", "`image push, pull, import, export`"),
    ("hornero-cli", "hornero-export", "`image export`"),
    ("hornero-cli", "hornero-ledger", "the key that signs what it bakes"),
    ("hornero-cli", "hornero-model", "the command shows the shared words"),
    ("hornero-cli", "hornero-api", "it asks control"),
    ("hornero-cli", "hornero-control", "`hornero serve`"),
    ("hornero-cli", "hornero-doctor", "`hornero doctor`, and the look before `up`"),
    ("hornero-cli", "hornero-host", "`hornero doctor`, and the look before `up`"),
    ("hornero-cli", "hornero-edge", "`hornero edge`"),
    ("hornero-cli", "hornero-engine", "`hornero shim`"),
    ("hornero-cli", "hornero-net", "the edge's name server, and the network of build steps"),
    ("hornero-cli", "hornero-bake", "`build` and `up` bake in the command's process"),
    ("hornero-cli", "hornero-plan", "`plan`"),
    ("hornero-cli", "hornero-spec", "it reads `hornero.hcl`"),
    ("hornero-cli", "hornero-store", "`image`"),
    ("hornero-cli", "hornero-verify", "`verify --tree`"),
    ("hornero-sim", "hornero-model", "it drives the production loop"),
    ("hornero-sim", "hornero-driver", "it drives the production loop"),
    ("hornero-sim", "hornero-rollout", "it drives the production loop"),
    ("hornero-sim", "hornero-calendar", "schedules come round in histories as they do in control"),
    ("hornero-conformance", "hornero-model", "what an engine is asked for"),
    ("hornero-conformance", "hornero-engine-port", "the `Engine` port"),
    ("hornero-archive", "hornero-model", "files of an archive are named by digests"),
    ("hornero-python", "hornero-model", "sets of libraries are named by digests"),
    ("hornero-bench", "hornero-archive", "Debian as it was before its security updates"),
    ("hornero-bench", "hornero-bake", "it moves images without the command around it"),
    ("hornero-bench", "hornero-driver", "it measures what deciding costs"),
    ("hornero-bench", "hornero-rollout", "it measures what deciding costs"),
    ("hornero-bench", "hornero-export", "it gives peers the same base"),
    ("hornero-bench", "hornero-spec", "it says what is baked"),
    ("hornero-bench", "hornero-load", "it makes load"),
    ("hornero-bench", "hornero-model", "it measures the parts by themselves"),
    ("hornero-bench", "hornero-oci", "it counts what moves to a registry and back"),
    ("hornero-bench", "hornero-judge", "it counts how often the judge is wrong"),
    ("hornero-bench", "hornero-engine-port", "which lines of logs are asked for is said there"),
    ("hornero-bench", "hornero-telemetry", "it measures how logs are kept and found"),
    ("hornero-bench", "hornero-sandbox", "it measures the start of an instance"),
    ("hornero-bench", "hornero-store", "it makes images of roots that were made by others"),
];

/// Crates that tests of any crate outside core may use beside their own arrows.
const FOR_TESTS: &[&str] =
    &["hornero-load", "hornero-conformance", "hornero-archive", "hornero-python", "hornero-model"];

/// Crates whose tests join many parts, and why.
const JOINING_TESTS: &[(&str, &str)] = &[
    ("hornero-cli", "its tests run the whole program"),
    ("hornero-control", "its tests run the real ports"),
    ("hornero-engine", "its tests start instances from a store"),
    ("hornero-bake", "its tests start what was baked"),
    ("hornero-verify", "its tests start instances and tamper with them"),
    ("hornero-oci", "its tests start what came in"),
    ("hornero-conformance", "its tests run the kit against the local engine"),
    ("hornero-export", "its tests boot what was baked"),
];

/// Crates that decide and do no I/O.
const CORE: &[&str] = &[
    "hornero-model",
    "hornero-spec",
    "hornero-plan",
    "hornero-rollout",
    "hornero-judge",
    "hornero-autopsy",
    "hornero-calendar",
    "hornero-conservation",
    "hornero-doctor",
    "hornero-engine-port",
    "hornero-rebase",
    "hornero-sbom",
    "hornero-provenance",
    "hornero-scaffold",
    "hornero-state-lint",
];

/// What a core crate must not reach, not even through another crate, and why.
const NOT_IN_CORE: &[(&str, &str)] = &[
    ("tokio", "a core crate has no runtime"),
    ("mio", "a core crate has no runtime"),
    ("hyper", "a core crate does no network I/O"),
    ("ureq", "a core crate does no network I/O"),
    ("rustls", "a core crate does no network I/O"),
    ("rusqlite", "a core crate does no file I/O"),
    ("rustix", "a core crate makes no system calls"),
    ("nix", "a core crate makes no system calls"),
    ("rand", "randomness is an argument of a core crate"),
    ("fastrand", "randomness is an argument of a core crate"),
    ("chrono", "the time is an argument of a core crate"),
];

/// Nothing imports these: they are the ends of the graph.
const ENDS: &[&str] = &["hornero-cli", "hornero-sim", "hornero-bench", "xtask"];

/// Every arrow is an allowed one, and core stays free of I/O.
pub fn check(metadata: &Metadata) -> Result<()> {
    let mut faults = wrong(metadata);
    faults.extend(unused(metadata));
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
}

fn wrong(metadata: &Metadata) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, package) in metadata.ours() {
        check_arrows(metadata, name, package, &mut faults);
        if CORE.contains(&name) {
            let reached = metadata.closure(package);
            for (banned, why) in NOT_IN_CORE {
                if let Some(way) = reached.get(*banned) {
                    faults.push(format!("{}: {why}", way.join(" -> ")));
                }
            }
        }
    }
    faults
}

/// Allowed arrows of crates that are there and do without: the table must say what is, not what was.
fn unused(metadata: &Metadata) -> Vec<String> {
    let ours = metadata.ours();
    let there = |from: &str, to: &str| {
        ours.get(from).is_none_or(|package| package.needs.iter().any(|id| metadata.name(id) == to))
    };
    ALLOWED
        .iter()
        .filter(|(from, to, _)| !there(from, to))
        .map(|(from, to, _)| {
            format!("{from} -> {to}: nothing needs this arrow; take it out of the table")
        })
        .collect()
}

fn check_arrows(metadata: &Metadata, from: &str, package: &Package, faults: &mut Vec<String>) {
    let ours = |ids: &std::collections::BTreeSet<String>| -> Vec<String> {
        let ours = ids.iter().filter_map(|id| metadata.packages.get(id)).filter(|to| to.is_ours());
        ours.map(|to| to.name.clone()).collect()
    };
    let allowed =
        |to: &str| ALLOWED.iter().any(|(source, target, _)| *source == from && *target == to);
    for to in ours(&package.needs) {
        if ENDS.contains(&to.as_str()) {
            faults.push(format!("{from} -> {to}: nothing imports `{to}`"));
        } else if !allowed(&to) {
            faults.push(format!(
                "{from} -> {to}: this arrow is not in crates/dev/xtask/src/arrows.rs"
            ));
        }
    }
    for to in ours(&package.test_needs) {
        let core = CORE.contains(&from);
        let joining = JOINING_TESTS.iter().any(|(name, _)| *name == from);
        let fine =
            allowed(&to) || to == from || (!core && (joining || FOR_TESTS.contains(&to.as_str())));
        if ENDS.contains(&to.as_str()) && to != from || !fine {
            faults.push(format!("{from} -> {to}: the tests of `{from}` may not use `{to}`"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::graph;

    #[test]
    fn allowed_arrows_pass() {
        let rows: &[(&str, &str, &[&str], &[&str])] = &[
            ("hornero-model", "MIT", &["serde"], &[]),
            ("hornero-edge", "MIT", &["hornero-model", "tokio"], &["hornero-load"]),
            ("hornero-load", "MIT", &["tokio"], &[]),
            ("serde", "MIT", &[], &[]),
            ("tokio", "MIT", &[], &[]),
        ];
        assert_eq!(wrong(&graph(rows)), [""; 0]);
    }

    #[test]
    fn others_are_named_with_the_way_to_them() {
        let rows: &[(&str, &str, &[&str], &[&str])] = &[
            ("hornero-cli", "MIT", &[], &[]),
            ("hornero-edge", "MIT", &["hornero-ledger", "hornero-cli"], &["hornero-sim"]),
            ("hornero-ledger", "MIT", &[], &[]),
            ("hornero-plan", "MIT", &["innocent"], &["hornero-load"]),
            ("hornero-load", "MIT", &[], &[]),
            ("hornero-sim", "MIT", &[], &[]),
            ("innocent", "MIT", &["tokio"], &[]),
            ("tokio", "MIT", &[], &[]),
        ];
        expect_test::expect![[r#"
            hornero-edge -> hornero-cli: nothing imports `hornero-cli`
            hornero-edge -> hornero-ledger: this arrow is not in crates/dev/xtask/src/arrows.rs
            hornero-edge -> hornero-sim: the tests of `hornero-edge` may not use `hornero-sim`
            hornero-plan -> hornero-load: the tests of `hornero-plan` may not use `hornero-load`
            hornero-plan -> innocent -> tokio: a core crate has no runtime"#]]
        .assert_eq(&wrong(&graph(rows)).join("\n"));
    }

    #[test]
    fn arrows_that_nothing_needs_are_named() {
        let rows: &[(&str, &str, &[&str], &[&str])] = &[
            ("hornero-ledger", "MIT", &["hornero-home"], &["hornero-model"]),
            ("hornero-edge", "MIT", &["hornero-model", "hornero-home"], &[]),
            ("hornero-model", "MIT", &[], &[]),
            ("hornero-home", "MIT", &["hornero-model"], &[]),
        ];
        let expected =
            "hornero-ledger -> hornero-model: nothing needs this arrow; take it out of the table";
        assert_eq!(unused(&graph(rows)), [expected]);
    }

    #[test]
    fn no_arrow_is_allowed_twice() {
        let mut arrows: Vec<_> = ALLOWED.iter().map(|(from, to, _)| (from, to)).collect();
        arrows.sort();
        let before = arrows.len();
        arrows.dedup();
        assert_eq!(arrows.len(), before);
    }
}
