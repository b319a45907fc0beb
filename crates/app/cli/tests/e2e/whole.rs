//! A directory as a whole: whose its services are, what goes with what it no longer declares, and plans that are kept.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    home::{Home, free_port, get},
    site::{BASE, NGINX_CONF, Site},
};

/// A copy of the project in a directory beside it.
fn copied(home: &Home, name: &str) -> PathBuf {
    let other = home.directory_beside(name);
    fs::create_dir(other.join("public")).unwrap();
    for file in ["hornero.hcl", "nginx.conf", "hornero.lock", "public/index.html"] {
        fs::copy(home.project().join(file), other.join(file)).unwrap();
    }
    other
}

/// A project of services, each behind a port of its own.
fn write(home: &Home, services: &[(&str, u16)]) {
    home.write("nginx.conf", NGINX_CONF);
    home.write("public/index.html", "page");
    let blocks = services.iter().map(|(name, port)| {
        Site { name, instances: 1, rollout: r#"keep_warm = "0s""#, ..Site::default() }.blocks(*port)
    });
    home.write("hornero.hcl", &format!("{BASE}{}", blocks.collect::<String>()));
}

/// What a plan would do, in the order of it: each object and the action.
fn actions(plan: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let changes = plan["changes"].as_array().unwrap().iter();
    changes.map(|change| (text(&change["object"]), text(&change["action"]))).collect()
}

fn running(home: &Home) -> Vec<String> {
    let services = home.status()["services"].as_array().unwrap().clone();
    services.iter().map(|service| service["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_service_belongs_to_the_directory_that_declared_it_first() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "one");
    home.up();
    let project = home.project().canonicalize().unwrap();
    let project = project.to_str().unwrap();
    assert_eq!(home.status()["services"][0]["directory"], project);
    let other = copied(&home, "other");
    let beside = other.canonicalize().unwrap();
    let beside = beside.to_str().unwrap();
    fs::write(other.join("public/index.html"), "two").unwrap();

    let plan = home.run_in(&other, &["plan", "--json"]).expect(0).json();
    assert_eq!(plan["problems"][0]["guard"], "belonging", "{plan}");
    assert_eq!(plan["problems"][0]["directory"], project, "{plan}");
    let refused = home.run_in(&other, &["up", "--json"]).expect(3);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "owned_elsewhere", "{error}");
    let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
    assert!(message.contains(project) && message.contains(beside), "{message}");
    assert!(hint.contains(&format!("down {project}")) && hint.contains("--adopt site"), "{hint}");
    assert_eq!(home.get("/"), (200, "one".to_owned()));
    // Nor is it taken down from there.
    let down = home.run_in(&other, &["down"]).expect(0);
    assert!(down.stderr.contains("belongs to"), "{}", down.stderr);
    assert_eq!(home.get("/"), (200, "one".to_owned()));

    home.run_in(&other, &["up", "--adopt", "site"]).expect(0);
    assert_eq!(home.get("/"), (200, "two".to_owned()));
    assert_eq!(home.status()["services"][0]["directory"], beside);
    home.run(&["up"]).expect(3);
    // A directory that is gone holds nothing.
    fs::remove_dir_all(&other).unwrap();
    let again = home.run(&["up"]).expect(0);
    assert!(again.stderr.contains("takes it over"), "{}", again.stderr);
    assert_eq!(home.status()["services"][0]["directory"], project);
    assert!(home.run(&["audit"]).expect(0).stdout.contains("service_owned"));
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn what_is_no_longer_declared_is_planned_and_goes_only_when_told() {
    let home = Home::new();
    let (site, shop) = (home.port, free_port());
    write(&home, &[("site", site), ("shop", shop)]);
    home.up();
    write(&home, &[("site", site)]);
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(actions(&plan), [("shop".to_owned(), "remove".to_owned())], "{plan}");
    assert!(plan["changes"][0].get("renamed").is_none(), "{plan}");
    let refused = home.run(&["up", "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "would_remove", "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("`shop`"), "{refused}");
    let left = home.run(&["up", "--no-prune"]).expect(0);
    assert!(left.stderr.contains("service.shop"), "{}", left.stderr);
    assert_eq!(get(shop, "/").0, 200);

    // Another name for what is the same: the way in is given over, so the old one goes first.
    write(&home, &[("site", site), ("store", shop)]);
    let hcl = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.write("hornero.hcl", &hcl.replace("image     = image.store", "image     = image.shop"));
    let hcl = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.write("hornero.hcl", &hcl.replace("image \"store\"", "image \"shop\""));
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    let expected = [("shop", "remove"), ("store", "create")];
    let expected = expected.map(|(object, action)| (object.to_owned(), action.to_owned()));
    assert_eq!(actions(&plan), expected, "{plan}");
    assert_eq!(plan["changes"][0]["renamed"], "store", "{plan}");
    assert_eq!(plan["changes"][1]["renamed"], "shop", "{plan}");
    let up = home.run(&["up", "--prune", "--json"]).expect(0).json();
    let names: Vec<_> = up["services"].as_array().unwrap().iter().map(|of| &of["name"]).collect();
    assert_eq!(names, ["shop", "site", "store"], "{up}");
    assert_eq!(get(shop, "/"), (200, "page".to_owned()));
    assert_eq!(running(&home), ["site", "store"]);
    // What belongs to a directory goes down with it, declared or not.
    write(&home, &[("site", site)]);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_kept_plan_is_carried_out_exactly_or_refused() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "one");
    let plan = |arguments: &[&str]| {
        let mut all = vec!["plan", "--json"];
        all.extend(arguments);
        home.run(&all)
    };
    assert_eq!(plan(&["--out", "plan.json"]).expect(1).json()["error"]["code"], "not_baked");
    home.run(&["build"]).expect(0);
    let kept = plan(&["--out", "plan.json", "--detailed-exitcode"]).expect(10).json();
    assert_eq!(actions(&kept), [("site".to_owned(), "create".to_owned())]);
    let up = home.run(&["up", "plan.json", "--json"]).expect(0).json();
    assert_eq!(up["services"][0]["release"], 1);
    assert_eq!(home.get("/"), (200, "one".to_owned()));
    plan(&["--detailed-exitcode"]).expect(0);

    // It was carried out: the world is another one.
    let stale = home.run(&["up", "plan.json", "--json"]).expect(3).json();
    assert_eq!(stale["error"]["code"], "stale_plan", "{stale}");
    let message = stale["error"]["message"].as_str().unwrap();
    assert!(message.contains("`site` serves as release 1"), "{message}");

    // What was planned is what runs, though the directory could be told otherwise by its variables.
    let hcl = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    let counted = hcl.replace("instances = 1", "instances = var.count");
    home.write("hornero.hcl", &format!("variable \"count\" {{ default = 1 }}\n{counted}"));
    plan(&["--var", "count=2", "--out", "plan.json"]).expect(0);
    // The source changed: nothing is done.
    home.write("public/index.html", "two");
    let stale = home.run(&["up", "plan.json", "--json"]).expect(3).json();
    assert_eq!(stale["error"]["code"], "stale_plan", "{stale}");
    assert!(stale["error"]["message"].as_str().unwrap().contains("image `site`"), "{stale}");
    assert_eq!(home.status()["services"][0]["wanted"], 1);
    home.write("public/index.html", "one");
    home.run(&["up", "plan.json"]).expect(0);
    assert_eq!(home.status()["services"][0]["wanted"], json!(2));

    home.write("no-plan.json", "{}");
    for (arguments, code) in [
        (&["up", "no-plan.json"][..], 2),
        (&["up", "hornero.hcl"], 2),
        (&["up", "plan.json", "--var", "count=3"], 2),
        (&["plan", "--out", "hornero.hcl"], 2),
    ] {
        let refused = home.run(arguments).expect(code);
        assert!(refused.stderr.contains("error: "), "{arguments:?}: {}", refused.stderr);
    }
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
