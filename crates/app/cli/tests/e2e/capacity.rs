//! A home whose control group is limited: what does not fit at once comes in batches, what does not fit is refused.

use std::{collections::BTreeSet, fs};

use crate::{
    home::{Home, until},
    site::Site,
};

/// Lets all servers of a home together take so many MiB.
fn limit(home: &Home, mib: u64) {
    let groups = home.control_groups();
    let files = groups
        .iter()
        .flat_map(|group| ["memory.limit_in_bytes", "memory.max"].map(|file| group.join(file)));
    let mut limited = 0;
    for file in files.filter(|file| file.exists()) {
        fs::write(&file, (mib << 20).to_string()).unwrap();
        limited += 1;
    }
    assert!(limited > 0, "no group of {groups:?} limits memory");
}

/// The servers that there are.
fn servers(home: &Home) -> BTreeSet<String> {
    let status = home.status();
    let instances = status["services"][0]["instances"].as_array().unwrap();
    instances.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_rollout_batches_itself_to_what_fits_and_is_refused_where_nothing_does() {
    let home = Home::new();
    let service = r#"resources = { memory = "64MiB" }"#;
    let site = || Site { instances: 3, service, ..Site::default() };
    site().write(&home, "<i>one</i>");
    home.up();
    let first = servers(&home);

    // 192 MiB are taken: one more server fits.
    limit(&home, 256);
    site().write(&home, "<i>two</i>");
    let plan = home.run(&["plan"]).expect(0).stdout;
    let room = "there is room for 1 of 3 servers at a time: 64MiB are left of the 256MiB";
    assert!(plan.contains("in batches of 1") && plan.contains(room), "{plan}");
    let up = home.run(&["up"]).expect(0);
    assert!(up.stderr.contains(room), "{}", up.stderr);
    let receipt = home.run(&["receipt", "--json"]).expect(0).json();
    let batched = receipt.as_array().map_or(&receipt, |receipts| &receipts[0])["batched"].clone();
    assert_eq!(batched["at_once"], 1, "{receipt}");
    assert!(batched["reason"].as_str().unwrap().contains(room), "{receipt}");
    assert_eq!(home.get("/"), (200, "<i>two</i>".to_owned()));
    until("the old servers to be gone", || servers(&home).len() == 3);
    let second = servers(&home);
    assert!(first.is_disjoint(&second));

    // Not one more fits: nothing is begun.
    limit(&home, 200);
    site().write(&home, "<i>three</i>");
    let refused = home.run(&["up"]).expect(3);
    for part in ["no room for 1 server", "8MiB are left of the 200MiB", "strategy = \"replace\""] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    let problems = plan["problems"].as_array().unwrap();
    assert!(problems.iter().any(|problem| problem["guard"] == "capacity"), "{plan}");
    assert_eq!(servers(&home), second);
    assert_eq!(home.get("/"), (200, "<i>two</i>".to_owned()));
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
