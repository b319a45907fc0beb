//! Backup while services run, restoring, moving and checking a home.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    home::{Answer, Home, until},
    site::Site,
};

/// A command for another home than the test's own.
fn in_home(home: &Home, other: &Path, arguments: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hornero"));
    command.arg("--home").arg(other).args(arguments).current_dir(home.project());
    Answer::of(&command.output().unwrap())
}

/// Ends everything of a home when a test ends, also when it fails.
struct Ended<'a>(&'a Home, PathBuf);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if in_home(self.0, &self.1, &["down"]).code != 0 {
            in_home(self.0, &self.1, &["down", "--force"]);
        }
    }
}

fn codes(check: &Value) -> Vec<&str> {
    let problems = check["problems"].as_array().unwrap();
    problems.iter().map(|problem| problem["code"].as_str().unwrap()).collect()
}

fn site(home: &Home, page: &str) {
    Site { instances: 1, ..Site::default() }.write(home, page);
}

#[test]
fn a_backup_of_a_running_home_comes_up_elsewhere_and_a_second_one_copies_only_what_is_new() {
    let home = Home::new();
    site(&home, "first");
    home.up();
    let out = home.directory_beside("backup");
    let first = home.run(&["home", "backup", out.to_str().unwrap(), "--json"]).expect(0).json();
    assert_eq!(first["holds_signing_key"], true, "{first}");
    assert!(
        first["head"]["sequence"].as_u64().unwrap() > 0 && first["image_count"].as_u64() >= Some(2)
    );
    let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(out.join("home-1/keys/signing.pk8")), 0o600);
    assert_eq!(mode(out.join("home-1")), 0o700);
    // Nobody needs Hornero to check it.
    let sums = Command::new("sha256sum")
        .args(["-c", "--quiet", "SHA256SUMS-1"])
        .current_dir(&out)
        .output();
    let sums = sums.unwrap();
    assert!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stdout));

    site(&home, "second");
    home.up();
    let second = home.run(&["home", "backup", out.to_str().unwrap(), "--json"]).expect(0).json();
    let copied = second["copied_files"].as_u64().unwrap();
    assert!(copied < 60, "a page changed, and {copied} files were copied");
    assert!(!out.join("home-1").exists() && !out.join("SHA256SUMS-1").exists());

    // The host is lost.
    home.run(&["down"]).expect(0);
    let restored = home.directory_beside("restored").join("home");
    let _ended = Ended(&home, restored.clone());
    let words =
        ["home", "restore", out.to_str().unwrap(), "--to", restored.to_str().unwrap(), "--json"];
    let answer = home.run(&words).expect(0).json();
    assert_eq!(answer["head"], second["head"]);
    let again = home.run(&words).expect(3);
    assert_eq!(again.json()["error"]["code"], "home_not_empty");
    in_home(&home, &restored, &["audit", "verify"]).expect(0);
    let checked =
        in_home(&home, &restored, &["home", "check", "--full", "--json"]).expect(0).json();
    assert!(codes(&checked).contains(&"home_restored"), "{checked}");
    // A reader of the status starts nothing; control of the restored home finds its servers gone and replaces them.
    let mut control = Command::new(env!("CARGO_BIN_EXE_hornero"));
    control.arg("--home").arg(&restored).arg("serve");
    let mut control = control.spawn().unwrap();
    until("the restored home to serve", || home.get("/").1 == "second");
    let audited = in_home(&home, &restored, &["audit", "verify", "--json"]).expect(0).json();
    assert_eq!(audited["intact"], true);
    in_home(&home, &restored, &["rollback", "site"]).expect(0);
    assert_eq!(home.get("/").1, "first");
    in_home(&home, &restored, &["down"]).expect(0);
    control.wait().unwrap();
}

#[test]
fn a_backup_that_is_unfinished_or_damaged_is_restored_nowhere() {
    let home = Home::new();
    site(&home, "page");
    home.run(&["build"]).expect(0);
    let out = home.directory_beside("backup");
    let to = home.directory_beside("target").join("home");
    let restore = || {
        let words =
            ["home", "restore", out.to_str().unwrap(), "--to", to.to_str().unwrap(), "--json"];
        let answer = home.run(&words);
        assert!(!to.exists(), "nothing is put in place");
        assert_eq!(
            fs::read_dir(to.parent().unwrap()).unwrap().count(),
            0,
            "nothing is left beside it"
        );
        (answer.code, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(restore(), (1, "backup_unfinished".to_owned()));
    home.run(&["home", "backup", out.to_str().unwrap()]).expect(0);
    // Somebody's data is no place for a backup.
    let other = home.directory_beside("other");
    fs::write(other.join("letter"), "dear").unwrap();
    let answer = home.run(&["home", "backup", other.to_str().unwrap(), "--json"]).expect(3);
    assert_eq!(answer.json()["error"]["code"], "backup_not_one");

    let list = fs::read_to_string(out.join("SHA256SUMS-1")).unwrap();
    let object = list.lines().find_map(|line| line.split_once("  store/objects/")).unwrap().1;
    let object = out.join("store/objects").join(object);
    let bytes = fs::read(&object).unwrap();
    fs::set_permissions(&object, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&object, [&bytes[..], b"x"].concat()).unwrap();
    assert_eq!(restore(), (1, "backup_damaged".to_owned()));
    fs::remove_file(&object).unwrap();
    assert_eq!(restore(), (1, "backup_damaged".to_owned()));
    // The next backup mends it.
    home.run(&["home", "backup", out.to_str().unwrap()]).expect(0);
    let list = out.join("SHA256SUMS-2");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.lines().skip(1).collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(restore(), (1, "backup_damaged".to_owned()));
    fs::write(&list, text).unwrap();
    fs::write(out.join("backup.json"), r#"{"kind":"hornero-backup","version":2}"#).unwrap();
    assert_eq!(restore(), (3, "backup_newer".to_owned()));
}

#[test]
fn a_backup_without_keys_says_so_and_its_home_serves_once_the_key_is_back() {
    let home = Home::new();
    site(&home, "page");
    home.up();
    let out = home.directory_beside("backup");
    let words = ["home", "backup", out.to_str().unwrap(), "--images", "none", "--without-keys"];
    let answer = home.run(&words).expect(0);
    assert!(answer.stdout.contains("it holds no signing key"), "{}", answer.stdout);
    assert!(!out.join("home-1/keys/signing.pk8").exists() && !out.join("store/objects").exists());
    let to = home.directory_beside("target").join("home");
    home.run(&["home", "restore", out.to_str().unwrap(), "--to", to.to_str().unwrap()]).expect(0);
    in_home(&home, &to, &["audit", "verify"]).expect(0);
    let checked = in_home(&home, &to, &["home", "check", "--json"]).expect(1).json();
    assert!(codes(&checked).contains(&"key_lost"), "{checked}");
    let served = in_home(&home, &to, &["serve", "--json"]).expect(1).json();
    assert_eq!(served["error"]["code"], "key_lost", "{served}");
    assert!(!to.join("keys/signing.pk8").exists(), "no other key is made in its place");
    fs::copy(home.path().join("keys/signing.pk8"), to.join("keys/signing.pk8")).unwrap();
    in_home(&home, &to, &["home", "check"]).expect(0);
}

#[test]
fn a_home_moves_only_while_nothing_of_it_runs_and_serves_at_its_new_place() {
    let home = Home::new();
    site(&home, "page");
    home.up();
    let to = home.directory_beside("target").join("home");
    let _ended = Ended(&home, to.clone());
    let refused = home.run(&["home", "move", to.to_str().unwrap(), "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "home_in_use", "{refused}");
    assert_eq!(home.get("/").1, "page", "a refusal changes nothing");
    let moved =
        home.run(&["home", "move", to.to_str().unwrap(), "--stop", "--json"]).expect(0).json();
    assert_eq!(moved["ended"].as_array().unwrap().len(), 1, "{moved}");
    assert!(!home.path().exists());
    fs::create_dir(home.path()).unwrap();
    home.assert_clean();
    let mut control = Command::new(env!("CARGO_BIN_EXE_hornero"));
    let mut control = control.arg("--home").arg(&to).arg("serve").spawn().unwrap();
    until("the moved home to serve", || home.get("/").1 == "page");
    in_home(&home, &to, &["audit", "verify"]).expect(0);
    in_home(&home, &to, &["home", "check"]).expect(0);
    in_home(&home, &to, &["down"]).expect(0);
    control.wait().unwrap();
}
