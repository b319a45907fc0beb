//! Collections beside rollouts and after them, from the command line: nothing that is about to serve goes.

use std::{fs, path::Path};

use hornero_api::{
    Client,
    message::{TestReport, TestRequest},
};
use hornero_model::{Digest, Release};
use hornero_store::{CollectOptions, Protection, Root, Store};
use serde_json::Value;

use crate::{
    home::{Home, until},
    site::Site,
};

/// A home with a store of its own, and a site that leaves nothing running of the release before.
fn home() -> (Home, Site<'static>) {
    let home = Home::with_own_store();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e/cache");
    fs::create_dir_all(&cache).unwrap();
    std::os::unix::fs::symlink(cache, home.path().join("cache")).unwrap();
    (home, Site { rollout: r#"keep_warm = "1s""#, instances: 1, ..Site::default() })
}

fn image(home: &Home, name: &str) -> Digest {
    let found = home.run(&["image", "inspect", name, "--json"]).expect(0).json();
    found["digest"].as_str().unwrap().parse().unwrap()
}

fn until_only_the_last_runs(home: &Home) {
    until("warm sets to be gone", || {
        let status = home.status();
        status["services"][0]["instances"].as_array().is_some_and(|all| all.len() == 1)
    });
}

/// Whether a process waits for a lock on a file.
fn waits_for_a_lock(pid: i32) -> bool {
    // `proc_locks(5)`: who is blocked stands behind an arrow.
    let table = fs::read_to_string("/proc/locks").unwrap();
    let blocked = table.lines().filter_map(|line| line.split_once("-> ")).map(|(_, lock)| lock);
    blocked.map(str::split_whitespace).any(|mut lock| lock.nth(3) == Some(&pid.to_string()))
}

#[test]
fn gc_safe_a_rollback_beside_a_collection_loses_nothing() {
    let (home, site) = home();
    for page in ["one", "two"] {
        site.write(&home, page);
        home.up();
    }
    until_only_the_last_runs(&home);
    let (first, second) = (image(&home, "site@1"), image(&home, "site@2"));
    let control = home.control_pid();
    let store = Store::open(home.path().join("store")).unwrap();
    let serves = |page: &str| home.get("/") == (200, page.to_owned());
    std::thread::scope(|scope| {
        let mut rollback = None;
        // A collection that has asked what is needed, when nothing needed the first release yet.
        let roots = || {
            rollback = Some(scope.spawn(|| home.run(&["rollback", "site", "--to", "1"])));
            until("control to wait, or not to", || waits_for_a_lock(control) || serves("one"));
            let reason = "it serves".to_owned();
            Ok(vec![Root { image: second, reason, protection: Protection::Always }])
        };
        let report = store.collect(&CollectOptions::default(), roots, &|_| ()).unwrap();
        let went = report.deleted_images.iter().any(|image| image.digest == first);
        assert!(went, "nothing keeps the first: {report:?}");
        let answer = rollback.unwrap().join().unwrap();
        assert_ne!(answer.code, 0, "it can't serve any more: {}{}", answer.stdout, answer.stderr);
    });
    assert!(serves("two"), "and nothing happened: {:?}", home.get("/"));
    home.run(&["image", "verify", "site@2"]).expect(0);
}

#[test]
fn gc_safe_a_rollback_after_a_collection_does_not_stop_the_next_one() {
    let (home, site) = home();
    for page in ["one", "two", "three", "four"] {
        site.write(&home, page);
        home.up();
    }
    until_only_the_last_runs(&home);
    let collect = || home.run(&["image", "gc", "--keep-releases", "0", "--json"]);
    let second = image(&home, "site@2").to_string();
    let went = collect().expect(0).json();
    assert!(went["deleted"].to_string().contains(&second), "nothing needs it: {went}");
    home.run(&["rollback", "site"]).expect(0);
    assert_eq!(home.get("/"), (200, "three".to_owned()));
    // A rollback would now go to the second, of which nothing is left.
    let went = collect().expect(0).json();
    assert_eq!(
        (&went["damaged"], &went["missing"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
    home.run(&["image", "fsck"]).expect(0);
}

#[test]
fn tests_that_were_asked_for_are_told_of_afterwards() {
    let (home, site) = home();
    site.write(&home, "one");
    home.up();
    site.write(&home, "two");
    home.run(&["build"]).expect(0);
    let word = || {
        let found = home.run(&["image", "inspect", "site", "--json"]).expect(0).json();
        found["tests"].clone()
    };
    assert_eq!(word(), Value::Array(vec![]), "never run");
    let history = home.run(&["audit", "--json"]).expect(0).stdout;
    let mut created = history.lines().filter_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        serde_json::from_value::<Release>(event["body"]["release"].clone()).ok()
    });
    let mut service = created.next_back().unwrap().spec;
    service.image = image(&home, "site");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = Client::new(home.path().join("control.sock"));
    let request = TestRequest { service };
    let report: TestReport = runtime.block_on(client.post("/v1/test", &request)).unwrap();
    assert!(report.tests.iter().all(|test| test.passed), "{report:?}");
    assert_eq!(word(), serde_json::json!([{ "name": "serves", "passed": true }]));
    assert_eq!(home.get("/"), (200, "one".to_owned()), "nothing was rolled out");
}
