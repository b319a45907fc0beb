//! Homes that released versions wrote: today's Hornero reads them, rolls out on them, rolls back, and ends what was cut.
//!
//! `tests/fixtures/homes/README.md` says how they were made. They are unpacked elsewhere than where they were made.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::home::{Home, get, until};

/// The port that the fixtures' releases listen on.
const PORT: u16 = 8391;

/// A home of a released version. Holds a lock of this machine, since all of them listen on one port.
struct OldHome {
    home: Home,
    /// What its own version said of it.
    said: Value,
    _lock: File,
}

impl OldHome {
    fn unpack(version: &Path, name: &str) -> Self {
        let lock = File::create(std::env::temp_dir().join("hornero-fixture.lock")).unwrap();
        lock.lock().unwrap();
        let home = Home::with_own_store();
        let directory = home.path().parent().unwrap().to_owned();
        fs::remove_dir(home.path()).unwrap();
        fs::remove_dir(home.project()).unwrap();
        let packed = File::open(version.join("homes.tar.zst")).unwrap();
        let mut archive = tar::Archive::new(zstd::Decoder::new(packed).unwrap());
        archive.set_preserve_ownerships(true);
        archive.set_preserve_permissions(true);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            if let Ok(below) = path.strip_prefix(name)
                && below != Path::new("")
            {
                entry.unpack(directory.join(below)).unwrap();
            }
        }
        let said = fs::read(directory.join("said.json")).unwrap();
        Self { home, said: serde_json::from_slice(&said).unwrap(), _lock: lock }
    }

    /// The arguments that every command on the project takes; the archive is where it was and no longer there.
    fn variables() -> [&'static str; 4] {
        [
            "--var",
            "archive=/tmp/hornero-fixture/archive",
            "--var",
            "keyring=/tmp/hornero-fixture/archive/keyring.asc",
        ]
    }

    fn page(&self, text: &str) {
        self.home.write("page", &format!("{text}\n"));
    }

    #[track_caller]
    fn up(&self) -> Value {
        let arguments = [&["up", "--json"], Self::variables().as_slice()].concat();
        self.home.run(&arguments).expect(0).json()
    }

    /// Bakes the project as that version did last. Maintainer scripts run in another order since then (decision 0027), so
    /// every step is baked anew, from the packages that the home has, and found from then on.
    #[track_caller]
    fn bakes_anew_once(&self) {
        for cached in [false, true] {
            let arguments = [&["build", "--json"], Self::variables().as_slice()].concat();
            let report = self.home.run(&arguments).expect(0).json();
            let images = report["images"].as_array().unwrap();
            assert_eq!(images.len(), 2, "{report}");
            assert!(images.iter().all(|image| image["cached"] == cached), "{report}");
        }
    }

    #[track_caller]
    fn serves(&self, page: &str) {
        assert_eq!(get(PORT, "/"), (200, format!("{page}\n")));
    }

    /// What the home's own version said is still said, word for word; what was added since may stand beside it.
    #[track_caller]
    fn tells_as_before(&self) {
        let home = &self.home;
        let events = home.run(&["audit", "--json"]).expect(0).stdout;
        let events: Value =
            events.lines().map(|line| -> Value { serde_json::from_str(line).unwrap() }).collect();
        let said = self.said["events"].as_array().unwrap();
        for (then, now) in said.iter().zip(events.as_array().unwrap()) {
            holds(then, now, "audit");
        }
        for (command, key, name) in
            [(&["history", "site"][..], "history", "release"), (&["receipt"], "receipts", "id")]
        {
            let now = home.run(&[command, &["--json"]].concat()).expect(0).json();
            for then in self.said[key].as_array().unwrap() {
                let same = |entry: &&Value| entry[name] == then[name];
                let now = now.as_array().unwrap().iter().find(same);
                holds(then, now.unwrap_or_else(|| panic!("{key}: {then} is gone")), key);
            }
        }
        let verdict = home.run(&["audit", "verify"]).expect(0).stdout;
        assert!(verdict.contains("intact"), "{verdict}");
    }

    #[track_caller]
    fn end(&self) {
        self.home.run(&["down"]).expect(0);
        self.home.assert_clean();
    }
}

/// Whether everything in `then` is in `now`.
#[track_caller]
fn holds(then: &Value, now: &Value, place: &str) {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            // Which release serves is of the moment.
            for (key, then) in then.iter().filter(|(key, _)| *key != "serving") {
                let now = now.get(key).unwrap_or_else(|| panic!("{place}: `{key}` is gone"));
                holds(then, now, &format!("{place}.{key}"));
            }
        }
        (Value::Array(then), Value::Array(now)) => {
            assert_eq!(then.len(), now.len(), "{place}");
            for (index, (then, now)) in then.iter().zip(now).enumerate() {
                holds(then, now, &format!("{place}[{index}]"));
            }
        }
        (then, now) => assert_eq!(then, now, "{place}"),
    }
}

/// Every released version that there are homes of.
fn versions() -> Vec<PathBuf> {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/homes");
    let entries = fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path());
    let versions: Vec<_> = entries.filter(|path| path.join("homes.tar.zst").exists()).collect();
    assert!(!versions.is_empty());
    versions
}

#[test]
fn an_old_home_is_read_rolled_out_on_and_rolled_back() {
    for version in versions() {
        println!("{}", version.display());
        let old = OldHome::unpack(&version, "finished");
        let home = &old.home;
        let images = home.run(&["image", "ls", "--json"]).expect(0).json();
        holds(&old.said["images"], &images, "images");
        home.run(&["image", "fsck"]).expect(0);
        home.run(&["image", "gc", "--dry-run"]).expect(0);
        home.run(&["image", "verify", "legacy"]).expect(0);
        let format = home.path().join("format");
        assert!(!format.exists(), "nothing was written yet that its own version does not know");

        old.bakes_anew_once();
        old.page("four");
        let report = old.up();
        assert_eq!(report["services"][0]["release"], 5, "{report}");
        old.serves("four");
        assert!(fs::read_to_string(format).unwrap().contains("\"format\": 2"));
        old.tells_as_before();
        home.run(&["rollback", "site", "--to", "2", "--reason", "it was good"]).expect(0);
        old.serves("two");
        home.run(&["rollback", "site", "--to", "3"]).expect(3);
        let status = home.status();
        assert_eq!(status["services"][0]["release"], 2, "{status}");
        old.tells_as_before();
        old.end();
    }
}

#[test]
fn a_rollout_that_an_old_version_left_half_done_comes_to_an_end() {
    for version in versions() {
        for phase in ["preparing", "switching", "watching"] {
            println!("{} {phase}", version.display());
            let old = OldHome::unpack(&version, phase);
            let serve = old.home.spawn(&["serve"]);
            until("the rollout to come to an end", || {
                let answer = old.home.run(&["status", "--json"]);
                if answer.code != 0 {
                    return false;
                }
                let service = &answer.json()["services"][0];
                let instances = service["instances"].as_array().unwrap();
                let serving = instances.iter().filter(|instance| instance["state"] == "serving");
                service["rollout"].is_null() && serving.count() == 2
            });
            let (status, body) = get(PORT, "/");
            assert_eq!(status, 200, "{body}");
            assert!(["two\n", "three\n"].contains(&body.as_str()), "{body}");
            old.tells_as_before();
            old.page("three");
            old.up();
            old.serves("three");
            old.tells_as_before();
            old.end();
            drop(serve);
        }
    }
}

#[test]
fn a_receipt_or_a_head_kept_elsewhere_shows_a_ledger_that_was_put_back() {
    let old = OldHome::unpack(&versions().remove(0), "finished");
    let home = &old.home;
    let kept = home.directory_beside("kept");
    let verify = |witness: &str, code: i32| {
        let path = kept.join(witness);
        home.run(&["audit", "verify", "--json", "--against", path.to_str().unwrap()]).expect(code)
    };
    let why = |answer: &crate::home::Answer| answer.json()["why"].as_str().unwrap().to_owned();
    // A head of format 1, and the receipt of a switch that this ledger holds.
    fs::copy(home.path().join("ledger.head"), kept.join("head")).unwrap();
    fs::write(kept.join("receipt"), old.said["receipts"][0].to_string()).unwrap();
    let parts = ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.head"];
    let copy = |from: &Path, to: &Path| {
        for part in parts {
            let _ = fs::remove_file(to.join(part));
            let _ = fs::copy(from.join(part), to.join(part));
        }
    };
    let before = home.directory_beside("before");
    copy(&home.path(), &before);
    verify("head", 0);
    verify("receipt", 0);

    old.page("four");
    old.up();
    verify("head", 0);
    verify("receipt", 0);
    let newest = home.run(&["receipt", "--json"]).expect(0).json()[0].to_string();
    fs::write(kept.join("newest"), &newest).unwrap();
    home.run(&["down"]).expect(0);
    fs::copy(home.path().join("ledger.head"), kept.join("last")).unwrap();
    verify("newest", 0);
    verify("last", 0);

    // An older ledger with its head is sound in itself.
    copy(&before, &home.path());
    home.run(&["audit", "verify"]).expect(0);
    assert!(why(&verify("newest", 1)).contains("is missing from the ledger"));
    assert!(why(&verify("last", 1)).contains("is missing"));

    // A receipt that says something else, and one of another key.
    fs::write(
        kept.join("changed"),
        newest.replacen("\"requests_failed\":0", "\"requests_failed\":1", 1),
    )
    .unwrap();
    assert!(why(&verify("changed", 1)).contains("does not fit"));
    let mut foreign: Value = serde_json::from_str(&newest).unwrap();
    foreign["key"] = "0".repeat(64).into();
    fs::write(kept.join("foreign"), foreign.to_string()).unwrap();
    assert!(why(&verify("foreign", 1)).contains("not with this home's"));
    verify("not there", 2);
}

/// Every file below a directory with what it holds, links by their targets.
fn tree(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let contents =
                if kind.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
            found.push((entry.path(), contents));
            if kind.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_home_of_a_newer_version_is_refused_by_every_command_and_left_as_it_is() {
    let version = versions().remove(0);
    let old = OldHome::unpack(&version, "finished");
    let home = &old.home;
    let newer =
        r#"{"kind":"hornero-home","format":9,"written_by":"7.8.9","what_we_do_not_know":[]}"#;
    fs::write(home.path().join("format"), newer).unwrap();
    let before = tree(&home.path());
    let variables = OldHome::variables();
    let project = |command: &'static str| [&[command][..], &variables].concat();
    for arguments in [
        project("up"),
        project("build"),
        project("plan"),
        project("lock"),
        project("patch"),
        vec!["down"],
        vec!["down", "--force"],
        vec!["status"],
        vec!["history", "site"],
        vec!["rollback", "site"],
        vec!["receipt"],
        vec!["logs", "site"],
        vec!["audit"],
        vec!["audit", "verify"],
        vec!["verify"],
        vec!["reproduce", "site"],
        vec!["image", "ls"],
        vec!["image", "gc"],
        vec!["image", "fsck"],
        vec!["image", "import", "/nowhere"],
        vec!["image", "pin", "site"],
        vec!["serve"],
        vec!["edge"],
    ] {
        let answer = home.run(&[&arguments[..], &["--json"]].concat()).expect(1);
        let error = &answer.json()["error"];
        assert_eq!(error["code"], "newer_home", "{arguments:?}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("format 9, written by Hornero 7.8.9"), "{message}");
        assert!(
            message.contains(concat!("this is Hornero ", env!("CARGO_PKG_VERSION"))),
            "{message}"
        );
        assert!(tree(&home.path()) == before, "`{}` changed something", arguments.join(" "));
    }
    // What this version may work on again, so that the home can be taken down.
    fs::remove_file(home.path().join("format")).unwrap();
}
