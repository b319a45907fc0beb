//! While a freeze holds nothing is rolled out without a word, and the word is kept.

use serde_json::Value;

use crate::{
    home::Home,
    site::{BASE, Site},
};

/// The project with a freeze that holds, or without any.
fn write(home: &Home, frozen: bool) {
    let site = Site { instances: 1, image: "", ..Site::default() };
    site.write(home, "page");
    let freeze = r#"
freeze "holidays" {
  from  = "2020-01-01T00:00"
  until = "2199-01-01T00:00"
}
"#;
    let freeze = if frozen { freeze } else { "" };
    home.write("hornero.hcl", &format!("{BASE}{}{freeze}", site.blocks(home.port)));
}

#[test]
fn up_is_refused_while_a_freeze_holds_unless_it_is_overridden() {
    let home = Home::new();
    write(&home, true);
    let refused = home.run(&["up", "--json"]).expect(3);
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("freeze `holidays` holds until 2199-01-01"), "{message}");
    assert!(!home.path().join("ledger.db").exists(), "nothing was begun");
    home.run(&["up", "--override", "holidays", "--reason", "x"]).expect(2);
    let reason = home.run(&["up", "--override", "freeze.holidays"]).expect(2);
    assert!(reason.stderr.contains("--reason"), "{}", reason.stderr);
    let overridden = ["up", "--override", "freeze.holidays", "--reason", "the shop is down"];
    home.run(&overridden).expect(0);
    assert_eq!(home.get("/"), (200, "page".to_owned()));
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut events = events.filter(|event| event["body"]["kind"] == "freeze_overridden");
    let event = events.next().unwrap();
    assert_eq!((&event["who"], &event["why"]), (&"root".into(), &"the shop is down".into()));
    assert_eq!(event["body"]["freeze"], "holidays", "{event}");
    assert!(events.next().is_none());
    assert_eq!(home.status()["freezes"][0]["holds"], true);

    // What was declared holds until it is no longer declared; that is a change like any other.
    write(&home, false);
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(plan["changes"][0]["kind"], "freeze", "{plan}");
    home.run(&["up"]).expect(3);
    home.run(&overridden).expect(0);
    home.run(&["up"]).expect(0);
    assert_eq!(home.status()["freezes"], Value::Null);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
