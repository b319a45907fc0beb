//! A witness outside of the home shows what a ledger alone can't: that it was cut short, put back or signed anew.

use std::fs;

use crate::{
    home::{Answer, Home, until},
    site::Site,
};

fn up(home: &Home, witness: &str) -> Answer {
    let mut command = home.command(&["up"]);
    Answer::of(&command.env("HORNERO_WITNESS", witness).output().unwrap())
}

fn status(home: &Home) -> serde_json::Value {
    home.status()["control"]["witness"].clone()
}

#[test]
fn a_ledger_that_was_put_back_is_shown_by_its_witness() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "one");
    let beside = home.directory_beside("elsewhere");
    let witness = format!("file:{}", beside.join("heads").display());
    up(&home, &witness).expect(0);
    let last = || home.run(&["audit", "--json"]).expect(0).stdout.lines().count() as u64;
    until("the witness to have the head", || status(&home)["event"].as_u64() == Some(last()));
    home.run(&["down", "--all"]).expect(0);
    let verify = |arguments: &[&str]| home.run(&[&["audit", "verify"], arguments].concat());
    let good = verify(&["--witness", &witness, "--json"]).expect(0).json();
    assert!(good["witness_heads"].as_u64().unwrap() > 3, "{good}");
    // The whole home is kept, and put back after more has happened: nothing in it contradicts itself.
    let parts = ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.head"];
    for part in parts {
        let _ = fs::copy(home.path().join(part), beside.join(part));
    }
    up(&home, &witness).expect(0);
    home.run(&["down", "--all"]).expect(0);
    for part in parts {
        let _ = fs::remove_file(home.path().join(part));
        let _ = fs::copy(beside.join(part), home.path().join(part));
    }
    verify(&[]).expect(0);
    let told = verify(&["--witness", &witness]).expect(1);
    assert!(told.stderr.contains("which the witness has, is missing"), "{}", told.stderr);
    // It goes on from there, past where it was: it is another past all the same.
    up(&home, &witness).expect(0);
    home.write("public/index.html", "two");
    up(&home, &witness).expect(0);
    home.run(&["down", "--all"]).expect(0);
    let told = verify(&["--witness", &witness]).expect(1);
    assert!(told.stderr.contains("witness"), "{}", told.stderr);
    verify(&["--witness", "file:/no/such/witness"]).expect(1);
    verify(&["--witness", "relative"]).expect(2);
    verify(&["--witness"]).expect(2);
}

#[test]
fn a_witness_that_is_down_stops_nothing_and_is_told_of() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "one");
    let mount = home.project().join("../mount");
    let witness = format!("file:{}", mount.join("heads").display());
    up(&home, &witness).expect(0);
    assert_eq!(home.get("/"), (200, "one".to_owned()));
    let told = home.run(&["status"]).expect(0).stdout;
    assert!(told.contains("warning: the witness") && told.contains("gets the newest"), "{told}");
    let doctor = home.run(&["doctor"]).stdout;
    assert!(doctor.contains("witness") && doctor.contains("can't be reached"), "{doctor}");
    fs::create_dir(&mount).unwrap();
    until("the witness to be back", || status(&home)["fault"].is_null());
    home.run(&["audit", "verify", "--witness"]).expect(0);
}

#[test]
fn a_witness_in_the_home_is_none() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "one");
    let witness = format!("file:{}", home.path().join("heads").display());
    let refused = up(&home, &witness).expect(6);
    assert!(refused.stderr.contains("is in the home"), "{}", refused.stderr);
    home.assert_clean();
}
