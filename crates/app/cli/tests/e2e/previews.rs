//! Previews on real servers under load: made, broken, removed and run out of time without a failed request of production.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::{
    document,
    home::{Home, signal, until},
    site::{BASE, NGINX_CONF, Site},
    traffic::Traffic,
};

/// A second checkout of the project with another page.
fn branch(home: &Home, page: &str, site: &Site<'_>) -> PathBuf {
    let dir = home.directory_beside(&format!("branch-{page}"));
    fs::create_dir(dir.join("public")).unwrap();
    fs::write(dir.join("public/index.html"), format!("<i>{page}</i>")).unwrap();
    fs::write(dir.join("nginx.conf"), NGINX_CONF).unwrap();
    fs::write(dir.join("hornero.hcl"), format!("{BASE}{}", site.blocks(home.port))).unwrap();
    dir
}

/// What is answered to a request with a host name and another field.
fn ask(home: &Home, host: &str, field: &str) -> (u16, String) {
    let asked = || -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, home.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET / HTTP/1.1\r\nhost: {host}\r\n{field}connection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let status = text.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body = text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned());
        Ok((status, body))
    };
    asked().unwrap_or_else(|error| (0, error.to_string()))
}

/// What a request gets that names a preview.
fn named(home: &Home, name: &str) -> (u16, String) {
    ask(home, "localhost", &format!("X-Hornero-Preview: {name}\r\n"))
}

fn page(text: &str) -> (u16, String) {
    (200, format!("<i>{text}</i>"))
}

fn previews(home: &Home) -> Vec<Value> {
    home.run(&["preview", "ls", "--json"]).expect(0).json().as_array().unwrap().clone()
}

/// The names below a directory that have to do with a preview.
fn traces(directory: &Path, word: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(word) {
            found.push(path.clone());
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(traces(&path, word));
        }
    }
    found
}

/// What the home's processes keep of addresses and routes.
fn kept(home: &Home) -> String {
    let read = |name: &str| fs::read_to_string(home.path().join(name)).unwrap_or_default();
    let mut text = read("network.json");
    for entry in fs::read_dir(home.path().join("edge")).unwrap().flatten() {
        text.push_str(&String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default()));
    }
    text
}

fn events(home: &Home, kind: &str) -> Vec<Value> {
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["body"]["kind"] == kind).collect()
}

#[test]
fn a_branch_is_shown_under_load_breaks_and_goes_without_a_trace() {
    let home = Home::new();
    Site::default().write(&home, "<i>one</i>");
    home.up();
    let before = home.status();
    let dir = branch(&home, "branch", &Site::default());
    let load = Traffic::start(home.port);
    let up = ["up", "--preview", "pr-7", "--share", "20%", "--reason", "look", "--json", "--dir"];
    let shown = home.run(&[&up[..], &[dir.to_str().unwrap()]].concat()).expect(0).json();
    let shown = &shown["previews"][0];
    assert_eq!((&shown["name"], &shown["service"]), (&"pr-7".into(), &"site".into()), "{shown}");
    assert_eq!((&shown["state"], &shown["share"]), (&"serving".into(), &2_000.into()), "{shown}");
    assert_eq!(shown["release"], Value::Null, "{shown}");
    assert_eq!(shown["header"], "X-Hornero-Preview: pr-7", "{shown}");
    assert_eq!((&shown["by"]["who"], &shown["by"]["why"]), (&"root".into(), &"look".into()));
    assert_eq!(named(&home, "pr-7"), page("branch"));
    until("a request without a name to get the preview", || home.get("/") == page("branch"));

    // Nothing of the service itself changed.
    let now = home.status();
    let of = |status: &Value| {
        let services = status["services"].as_array().unwrap();
        assert_eq!(services.len(), 1, "{status}");
        (services[0]["release"].clone(), services[0]["image"].clone())
    };
    assert_eq!(of(&before), of(&now));
    assert_eq!(
        home.run(&["history", "site", "--json"]).expect(0).json().as_array().unwrap().len(),
        1
    );
    let text = home.run(&["status"]).expect(0).stdout;
    assert!(text.contains("pr-7") && text.contains("20%"), "{text}");
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(plan["changes"], Value::Array(Vec::new()), "{plan}");
    assert_eq!(plan["previews"][0]["name"], "pr-7", "{plan}");

    // Its servers die again and again: production does not notice.
    let shown = previews(&home);
    for instance in shown[0]["instances"].as_array().unwrap() {
        signal(crate::home::pid(&instance["pid"]), "KILL");
    }
    until("it to be whole again", || {
        let shown = previews(&home);
        shown[0]["state"] == "serving" && shown[0]["healthy"] == shown[0]["wanted"]
    });
    // A rollout goes on beside it.
    home.write("public/index.html", "<i>two</i>");
    home.up();
    assert_eq!(named(&home, "pr-7"), page("branch"));

    home.run(&["preview", "rm", "pr-7"]).expect(0);
    assert_eq!(previews(&home), Vec::<Value>::new());
    assert_eq!(named(&home, "pr-7"), page("two"));
    let report = load.stop_whole();
    let marks: BTreeSet<&str> = report.markers.iter().map(|of| of.marker.as_str()).collect();
    assert!(marks.contains("branch"), "{marks:?}");
    assert!(!kept(&home).contains("pr-7"), "{}", kept(&home));
    let ids = shown[0]["instances"].as_array().unwrap().iter();
    for id in ids.map(|one| one["id"].as_str().unwrap()) {
        let left: Vec<PathBuf> = traces(&home.path(), id)
            .into_iter()
            // What it wrote is kept as that of all servers is.
            .filter(|path| !path.starts_with(home.path().join("instances/.archived")))
            // And one of its servers failed.
            .filter(|path| !path.starts_with(home.path().join("bundles")))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let groups = home.control_groups().iter().flat_map(|group| traces(group, id)).count();
        assert_eq!(groups, 0, "{id}");
    }
    home.run(&["preview", "rm", "pr-7"]).expect(5);
    let declared = &events(&home, "preview_declared")[0];
    assert_eq!((&declared["who"], &declared["why"]), (&"root".into(), &"look".into()));
    assert!(declared["body"]["preview"]["until"].is_string(), "{declared}");
    assert_eq!(events(&home, "preview_removed").len(), 1);
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_release_of_the_past_is_shown_by_host_and_goes_by_itself() {
    let home = Home::new();
    let site = || Site::default().blocks(home.port);
    let hosted = |text: String| {
        text.replace(
            "address = \"127.0.0.1\"",
            "address = \"127.0.0.1\"\n    host    = \"shop.test\"",
        )
    };
    for text in ["one", "two"] {
        Site::default().write(&home, &format!("<i>{text}</i>"));
        home.write("hornero.hcl", &format!("{BASE}{}", hosted(site())));
        home.up();
    }
    let up = ["up", "--preview", "old", "--release", "1", "--for", "6s", "site"];
    home.run(&up).expect(0);
    assert_eq!(ask(&home, "old.shop.test", ""), page("one"));
    assert_eq!(ask(&home, "shop.test", ""), page("two"));
    assert_eq!(ask(&home, "shop.test", "X-Hornero-Preview: old\r\n"), page("one"));
    let shown = previews(&home);
    assert_eq!((&shown[0]["release"], &shown[0]["hosts"][0]), (&1.into(), &"old.shop.test".into()));
    // Whoever watches over it dies; its time runs out all the same.
    signal(home.control_pid(), "KILL");
    // Any command that changes something starts the next one.
    home.run(&["preview", "rm", "nobody"]).expect(5);
    until("its time to be up", || {
        home.run(&["preview", "ls", "--json"]).json() == Value::Array(Vec::new())
    });
    assert_eq!(ask(&home, "old.shop.test", "").0, 404);
    assert_eq!(ask(&home, "shop.test", ""), page("two"));
    let removals = events(&home, "rollout_step");
    assert!(removals.iter().any(|event| event["why"] == "the time of preview `old` is up"));

    // With its service it goes, and what can't be is refused.
    home.run(&["up", "--preview", "old", "--release", "1", "site"]).expect(0);
    home.run(&["up", "--preview", "old", "--release", "9", "site"]).expect(5);
    home.run(&["up", "--preview", "old", "--release", "1"]).expect(2);
    home.run(&["up", "--preview", "b", "--release", "1", "--share", "60%", "site"]).expect(2);
    home.run(&["up", "--preview", "b", "--release", "1", "site"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_sick_preview_costs_no_request_and_its_image_is_kept_as_long_as_it_is_there() {
    let home = Home::new();
    Site::default().write(&home, "<i>one</i>");
    home.up();
    // It answers its checks until its page is gone.
    let command =
        r#"["sh", "-c", "/usr/sbin/nginx -g 'daemon off;' & sleep 5; kill $!; wait; sleep 600"]"#;
    let sick = Site { image: "", command, ..Site::default() };
    let dir = branch(&home, "sick", &sick);
    let load = Traffic::start(home.port);
    home.run(&["up", "--preview", "sick", "--share", "50%", "--dir", dir.to_str().unwrap()])
        .expect(0);
    let image = previews(&home)[0]["image"].as_str().unwrap().to_owned();
    let why = home.run(&["image", "why-kept", &image, "--json"]).expect(0).json();
    assert!(why.to_string().contains("sick.site"), "{why}");
    until("it to be shown as sick", || previews(&home)[0]["state"] == "unhealthy");
    assert_eq!(home.get("/"), page("one"));
    home.run(&["preview", "rm", "sick"]).expect(0);
    load.stop_whole();
    let why = home.run(&["image", "why-kept", &image, "--json"]).expect(0).json();
    assert!(!why.to_string().contains("sick.site"), "{why}");

    // One that never comes up is told and leaves nothing.
    let broken = Site { image: "", command: r#"["sh", "-c", "exit 3"]"#, ..Site::default() };
    let dir = branch(&home, "broken", &broken);
    let up = home.run(&["up", "--preview", "no", "--dir", dir.to_str().unwrap()]).expect(1);
    assert!(up.stderr.contains("3"), "{}", up.stderr);
    until("nothing to be left of it", || previews(&home).is_empty());
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn the_guide_runs_as_printed() {
    let home = Home::new();
    Site::default().write(&home, "<i>one</i>");
    home.up();
    home.write("public/index.html", "<i>two</i>");
    home.up();
    let dir = branch(&home, "branch", &Site::default());
    let at = PathBuf::from(format!("127.0.0.1:{}", home.port));
    document::run(&home, "guides/previews.md", &[("../shop-branch", dir), ("127.0.0.1:8000", at)]);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
