//! A release that failed is not tried again without a word, and is not blamed for what the one before it suffers too.

use crate::{
    home::{Home, until},
    site::Site,
};

/// A server that needs another service, and says so when it is gone.
fn needing(queue: &str) -> String {
    format!(
        r#"["/bin/sh", "-c", "check() {{ perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr => shift)' {queue}; }}; end() {{ echo the queue is gone >&2; exit 7; }}; check || end; nginx -g 'daemon off;' & while check; do sleep 0.2; done; end"]"#
    )
}

/// `queue`, and `site` that needs the service of this name.
fn write(home: &Home, page: &str, needed: &str) {
    let command = needing(&format!("{needed}.internal:8080"));
    let service = "depends_on = [service.queue]";
    let site = Site { command: &command, image: "", service, ..Site::default() };
    let queue = Site { name: "queue", instances: 1, image: "", ..Site::default() };
    site.write(home, page);
    let hcl = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    let port = crate::home::free_port();
    home.write("hornero.hcl", &format!("{hcl}{}", queue.blocks(port)));
}

#[test]
fn a_failed_release_is_tried_again_only_with_a_word_and_not_blamed_for_what_is_shared() {
    let home = Home::new();
    write(&home, "good", "queue");
    home.up();
    assert_eq!(home.get("/"), (200, "good".to_owned()));

    // Its servers miss what there never was.
    write(&home, "bad", "nowhere");
    let failed = home.run(&["up", "--reason", "a new queue"]).expect(1);
    assert!(failed.stderr.contains("the queue is gone"), "{}", failed.stderr);
    let refused = home.run(&["up"]).expect(3);
    assert!(refused.stderr.contains("`site@2` failed at "), "{}", refused.stderr);
    assert!(refused.stderr.contains("exited with code 7"), "{}", refused.stderr);
    assert!(refused.stderr.contains(" up --retry-failed"), "{}", refused.stderr);
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    let guards = plan["problems"].as_array().unwrap();
    assert!(guards.iter().any(|problem| problem["guard"] == "failed-release"), "{plan}");
    let history = home.run(&["history", "site", "--json"]).expect(0).json();
    let failure = &history[0]["failed"];
    assert_eq!((&failure["who"], &failure["why"]), (&"root".into(), &"a new queue".into()));
    let text = home.run(&["history", "site"]).expect(0).stdout;
    assert!(text.contains("site@2 failed at") && text.contains("code 7"), "{text}");
    home.run(&["up", "--retry-failed"]).expect(1);
    assert_eq!(home.get("/"), (200, "good".to_owned()));

    // Now the old release misses its own, and ends as the new one did.
    home.run(&["down", "--force", "queue"]).expect(0);
    let site = || {
        let status = home.status();
        let services = status["services"].as_array().unwrap().iter();
        services.into_iter().find(|service| service["name"] == "site").unwrap().clone()
    };
    until("the shared failure to be seen", || !site()["stopped"].is_null());
    let stopped = site()["stopped"].clone();
    assert_eq!(stopped["failed"], 2, "{stopped}");
    let reason = stopped["reason"].as_str().unwrap();
    assert!(reason.contains("likely state, configuration or a dependency"), "{reason}");
    let text = home.run(&["status"]).expect(0).stdout;
    assert!(text.contains("hornero resume site --reason"), "{text}");
    let history = home.run(&["history", "site", "--json"]).expect(0).json();
    assert!(history[0]["failed"].is_null(), "the new release is not blamed any more: {history}");

    // Once what was missing is back, somebody lets the servers be made again.
    write(&home, "good", "queue");
    let again = home.run(&["up"]).expect(3);
    assert!(again.stderr.contains(" resume site --reason"), "{}", again.stderr);
    home.run(&["resume", "site", "--reason", "the queue is back"]).expect(0);
    home.up();
    until("the site to serve again", || home.get("/") == (200, "good".to_owned()));
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
