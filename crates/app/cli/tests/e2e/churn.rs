//! Limits of churn: a service that fails in a loop is stopped with a word, what is asked for by hand goes on, and somebody
//! lets the rest go on.

use serde_json::Value;

use crate::{
    home::{Home, pid, signal, until},
    site::Site,
};

/// Healthy at first, and gone seconds later, again and again.
const LOOP: Site<'static> = Site {
    name: "site",
    instances: 2,
    command: r#"["/bin/sh", "-c", "nginx -g 'daemon off;' & sleep 8; echo the queue is gone >&2; exit 7"]"#,
    image: "",
    service: BUDGET,
    health: "",
    rollout: "",
};
const BUDGET: &str = "budget {\n per_hour = 4\n per_day = 40\n}";

fn stopped(home: &Home) -> Value {
    home.status()["services"][0]["stopped"].clone()
}

#[test]
fn a_service_that_fails_in_a_loop_is_stopped_until_somebody_resumes_it() {
    let home = Home::new();
    LOOP.write(&home, "loops");
    home.up();
    until("the budget to be used up", || !stopped(&home).is_null());
    let breach = &stopped(&home)["breach"];
    assert_eq!(
        (&breach["made"], &breach["limit"], &breach["window"], &breach["scope"]),
        (&4.into(), &4.into(), &"hour".into(), &"unrequested".into()),
        "{breach}"
    );
    let reason = "4 servers of `site` were made within an hour by Hornero itself, and 4 may be";
    let text = home.run(&["status"]).expect(0).stdout;
    assert!(text.contains(reason) && text.contains("hornero resume site"), "{text}");

    // The same once more is refused, with the numbers and the line to run; `plan` says so before.
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    let problem = &plan["problems"][0];
    assert_eq!(problem["guard"], "bounded-churn", "{plan}");
    let refused = home.run(&["up"]).expect(3);
    assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    assert!(refused.stderr.contains(" resume site --reason"), "{}", refused.stderr);

    // What mends it is not held back.
    Site { service: BUDGET, ..Site::default() }.write(&home, "mended");
    home.up();
    assert_eq!(home.get("/"), (200, "mended".to_owned()));
    assert!(!stopped(&home).is_null(), "nobody let it go on");

    home.run(&["resume", "site"]).expect(2);
    home.run(&["resume", "nobody", "--reason", "x"]).expect(5);
    let resumed = home.run(&["resume", "site", "--reason", "the queue is back", "--json"]);
    assert_eq!(resumed.expect(0).json()["resumed"][0]["breach"]["service"], "site");
    assert!(stopped(&home).is_null());
    let again = home.run(&["resume", "--reason", "to be sure"]).expect(0);
    assert!(again.stdout.contains("nothing was stopped"), "{}", again.stdout);
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let is_resumed = |line: &&str| {
        line.contains("churn_resumed") && line.contains("\"why\":\"the queue is back\"")
    };
    assert!(audit.lines().any(|line| line.contains("churn_stopped")), "{audit}");
    assert!(audit.lines().any(|line| is_resumed(&line)), "{audit}");

    // And repair works again.
    let victim = home.status()["services"][0]["instances"][0].clone();
    signal(pid(&victim["pid"]), "KILL");
    until("the killed server to be replaced", || {
        let status = home.status();
        let instances = status["services"][0]["instances"].as_array().unwrap();
        let serves = |one: &&Value| one["state"] == "serving" && one["health"] == "healthy";
        instances.iter().all(|one| one["id"] != victim["id"])
            && instances.iter().filter(serves).count() == 2
    });

    // What all that took, and who wanted it, also where no control process runs.
    let churn = home.run(&["churn", "site", "--json"]).expect(0).json();
    let site = &churn["services"][0];
    // Two for the first release, four again, two for the mended one, and one for the killed.
    assert_eq!((&site["made"], &site["running"]), (&9.into(), &2.into()), "{churn}");
    assert!(site["failed"].as_u64().unwrap() >= 5, "{churn}");
    assert!(site["memory_gib_hours"].as_f64().unwrap() > 0.0, "{churn}");
    let made = |who: &str| {
        let causes = site["causes"].as_array().unwrap().iter();
        causes.filter(|of| of["who"] == who).map(|of| of["made"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((made("root"), made("hornero")), (4, 5), "{churn}");
    let text = home.run(&["churn"]).expect(0).stdout;
    assert!(text.contains("lacks an instance") && text.contains("1/4 an hour"), "{text}");
    home.run(&["churn", "nobody"]).expect(5);
    home.run(&["down"]).expect(0);
    let absent = home.run(&["churn", "--since", "1h", "--json"]).expect(0).json();
    assert_eq!(absent["services"][0]["running"], 0, "{absent}");
    home.assert_clean();
}

#[test]
fn the_home_has_a_budget_of_its_own_and_a_slip_in_its_file_does_not_lift_it() {
    let home = Home::new();
    let file = home.path().join("settings.hcl");
    let settings = || home.run(&["settings", "--json"]);
    assert_eq!(settings().expect(0).json()["in_force"], Value::Null, "no control runs yet");
    std::fs::write(&file, "budget {\n  per_hour = 2\n  per_day = 20\n}\n").unwrap();
    Site { service: "", ..LOOP }.write(&home, "loops");
    home.up();
    let told = settings().expect(0).json();
    assert_eq!((&told["in_force"], &told["budget"]["per_hour"]), (&true.into(), &2.into()));

    // One service reaches it alone where its owner says so.
    until("the home's budget to be used up", || !stopped(&home).is_null());
    let breach = stopped(&home)["breach"].clone();
    assert_eq!((&breach["limit"], &breach["window"]), (&2.into(), &"hour".into()), "{breach}");
    assert_eq!(breach["service"], Value::Null, "{breach}");
    let uses = home.run(&["churn", "--json"]).expect(0).json()["home"].clone();
    assert_eq!((&uses[0]["limit"], &uses[1]["limit"]), (&2.into(), &20.into()), "{uses}");

    // A control process that starts with mistakes in the file goes on with what it said before.
    std::fs::write(&file, "budget {\n  per_hour = many\n}\n").unwrap();
    let wrong = home.run(&["settings"]).expect(2);
    assert!(wrong.stderr.contains("settings.hcl:2"), "{}", wrong.stderr);
    let before = home.control_pid();
    signal(before, "KILL");
    home.run(&["up"]).expect(3);
    assert_ne!(home.control_pid(), before);
    let status = home.status();
    let fault = status["control"]["settings_fault"].as_str().unwrap();
    assert!(fault.starts_with("line 2 of `settings.hcl`"), "{fault}");
    assert!(home.run(&["status"]).expect(0).stdout.contains("see `hornero settings`"));
    assert_eq!(stopped(&home)["breach"]["limit"], 2);

    std::fs::write(&file, "").unwrap();
    assert_eq!(settings().expect(0).json()["in_force"], false);
    let text = home.run(&["settings"]).expect(0).stdout;
    assert!(text.contains("control started before this was written"), "{text}");
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
