//! The fleet of the examples on real Debian: patched by one command from before the security pocket to after it.

use std::{fs, path::Path, process::Command};

use hornero_archive::Relay;
use serde_json::Value;

use crate::home::Home;

/// What belongs to a state of the archive that is older than its last point release.
const LATER: [&str; 2] = ["-security", "-updates"];

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// The fleet in a home's project, its base from `mirror`.
fn lay_out(home: &Home, mirror: &str) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/fleet");
    copy(&example, &home.project());
    let built = Command::new(home.project().join("hello/build.sh")).status().unwrap();
    assert!(built.success(), "the static program could not be built");
    let path = home.project().join("hornero.hcl");
    let text = fs::read_to_string(&path).unwrap();
    let line = "debian   = \"bookworm\"\n";
    assert!(text.contains(line));
    let text = text.replace(line, &format!("{line}  mirror   = \"{mirror}\"\n"));
    fs::write(path, text.replace("default     = 8002", &format!("default     = {}", home.port)))
        .unwrap();
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn a_fleet_is_patched_by_one_command_and_goes_back_to_its_older_base() {
    let home = Home::new();
    let relay = Relay::of_host("bookworm");
    // The archive may publish meanwhile: what was asked for once stays as it was.
    let kept = tempfile::tempdir().unwrap();
    relay.keep_in(kept.path());
    relay.hide(&LATER);
    lay_out(&home, &relay.url());
    home.up();
    assert!(home.get("/").1.contains("One base, ten images"));
    let before = home.run(&["history", "site", "--json"]).expect(0).json();
    let old_base = text(&before[0], "base").to_owned();
    assert!(!old_base.is_empty(), "a release names its base: {before}");
    let lock = fs::read_to_string(home.project().join("hornero.lock")).unwrap();

    let idle = home.run(&["patch", "--json"]).expect(0).json();
    assert_eq!(idle["changes"].as_array().unwrap().len(), 0, "nothing is newer yet: {idle}");

    relay.hide(&[]);
    let foreseen = home.run(&["patch", "--dry-run", "--json"]).expect(0).json();
    let changes = foreseen["changes"].as_array().unwrap();
    assert!(changes.iter().any(|change| change["security"] == true), "{foreseen}");
    let unchanged = fs::read_to_string(home.project().join("hornero.lock")).unwrap();
    assert_eq!(unchanged, lock, "a dry run changes nothing");

    let patched = home.run(&["patch", "--json"]).expect(0).json();
    let images = patched["images"].as_array().unwrap();
    assert_eq!(images.len(), 11, "the base and ten images: {patched}");
    let of = |name: &str| images.iter().find(|image| text(image, "name") == name).unwrap();
    let moved = images.iter().filter(|image| text(image, "how") == "rebased").count();
    assert!(moved >= 2, "images without packages of their own that changed are moved: {patched}");
    for image in images.iter().filter(|image| text(image, "how") == "rebased") {
        assert_eq!(text(image, "base_old"), old_base);
        assert_eq!(text(image, "base_new"), text(of("base"), "new"));
    }
    let tests = patched["tests"].as_array().unwrap();
    assert!(tests.len() >= 9, "images that changed are tested: {patched}");
    for run in tests {
        for test in run["tests"].as_array().unwrap() {
            assert_eq!(test["passed"], true, "{run}");
        }
    }
    let serving = home.run(&["history", "site", "--json"]).expect(0).json();
    assert_eq!(serving.as_array().unwrap().len(), 1, "without `--deploy` nothing is rolled out");

    let deployed =
        home.run(&["patch", "--deploy", "--reason", "security", "--json"]).expect(0).json();
    assert!(
        deployed["changes"].as_array().unwrap().is_empty(),
        "it is patched already: {deployed}"
    );
    let services = deployed["services"].as_array().unwrap();
    let site = services.iter().find(|one| one["name"] == "site").unwrap();
    assert_eq!(
        site["image"],
        of("site")["new"],
        "what was patched before is rolled out: {deployed}"
    );
    let after = home.run(&["history", "site", "--json"]).expect(0).json();
    assert_eq!(text(&after[0], "base"), text(of("base"), "new"));
    assert!(home.get("/").1.contains("One base, ten images"));

    // The patched image made again, and what it has differently.
    let same = home.run(&["reproduce", "hello", "--json"]).expect(0).json();
    assert_eq!(same["same"], true, "{same}");
    let diff =
        home.run(&["image", "diff", "site@1", text(of("site"), "new"), "--json"]).expect(0).json();
    assert!(!diff["packages"].as_array().unwrap().is_empty(), "{diff}");

    home.run(&["up", "--base", &old_base, "--json"]).expect(0);
    let back = home.run(&["history", "site", "--json"]).expect(0).json();
    assert_eq!(text(&back[0], "base"), old_base, "{back}");
    home.run(&["verify"]).expect(0);
}
