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
