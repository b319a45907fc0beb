//! Patching from the command line: tests that fail after it, and images that do not hold on what they are put on.

use std::fs;

use hornero_archive::{Archive, Package, SUITE, dpkg, shell};

use crate::home::Home;

fn library(version: &str) -> Package {
    Package::new("library", version).file("usr/share/library/data", 0o644, format!("{version}\n"))
}

/// An image on a base with the library; its test wants the library's first version.
fn write(home: &Home, archive: &Archive) {
    let text = format!(
        r#"
image "base" {{
  debian   = "{SUITE}"
  mirror   = "file://{}"
  keyring  = "{}"
  packages = ["library"]
}}

image "app" {{
  from = image.base
  copy "page" {{ to = "/srv/page" }}
  test "knows the library" {{
    run = ["/bin/sh", "-c", "read version </usr/share/library/data; [ \"$version\" = 1 ]"]
  }}
}}
"#,
        archive.path().display(),
        archive.keyring().display()
    );
    home.write("hornero.hcl", &text);
    home.write("page", "page\n");
}

#[test]
fn a_patch_whose_tests_fail_says_so_and_rolls_nothing_out() {
    let home = Home::with_own_store();
    let mut archive = Archive::with(&[shell(), dpkg(), library("1")]);
    write(&home, &archive);
    home.run(&["build"]).expect(0);
    let lock = fs::read(home.project().join("hornero.lock")).unwrap();

    archive.put_security(library("2"));
    archive.publish();
    let failed = home.run(&["patch", "--json"]).expect(1).json();
    assert_eq!(failed["changes"][0]["security"], true, "{failed}");
    let run = &failed["tests"][0];
    assert_eq!((&run["image"], &run["tests"][0]["passed"]), (&"app".into(), &false.into()));
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("image.app: test `knows the library`"), "{message}");
    assert!(failed["error"]["hint"].as_str().unwrap().contains("hornero.lock"), "{failed}");

    // With the lock of before everything is as it was.
    let image = |home: &Home| home.run(&["build", "--json"]).expect(0).json()["images"].clone();
    let patched = image(&home);
    fs::write(home.project().join("hornero.lock"), lock).unwrap();
    let before = image(&home);
    assert_ne!(patched[1]["digest"], before[1]["digest"]);
    assert_eq!(before[1]["cached"], true, "its image is still there");
}

#[test]
fn a_base_that_lacks_what_an_image_needs_is_refused_with_every_reason() {
    let home = Home::with_own_store();
    let tool = Package::new("tool", "1").depends("library");
    let archive = Archive::with(&[shell(), dpkg(), library("1"), tool]);
    write(&home, &archive);
    let text = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    let text = text.replace("from = image.base", "from = image.base\n  packages = [\"tool\"]");
    home.write("hornero.hcl", &text);
    home.run(&["build"]).expect(0);
    // The same base without the library.
    let poor = home.directory_beside("poor");
    fs::write(poor.join("hornero.hcl"), text.replace("\"library\"", "")).unwrap();
    fs::write(poor.join("page"), "page\n").unwrap();
    let built = home.run_in(&poor, &["build", ".", "base", "--json"]).expect(0).json();
    let base = built["images"][0]["digest"].as_str().unwrap();

    home.run(&["image", "rebase", "app", "--base", base, "--json"]).expect(3);
    let service = "service \"app\" {\n  image = image.app\n}\n";
    home.write(
        "hornero.hcl",
        &text.replace("test \"knows", "command = [\"/bin/sh\"]\n  test \"knows"),
    );
    let all = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.write("hornero.hcl", &format!("{all}{service}"));
    home.run(&["build"]).expect(0);
    let refused = home.run(&["up", "--base", base, "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "rebase_refused", "{refused}");
    let reasons = refused["refusals"].as_array().unwrap();
    assert!(reasons.iter().any(|one| one.to_string().contains("library")), "{refused}");
    home.run(&["status"]).expect(6);
}
