//! The file of a home's settings.

use expect_test::{Expect, expect};
use hornero_model::{Budget, Digest, Role};
use hornero_spec::{Collector, Settings, settings};

fn check(text: &str, expected: Expect) {
    let errors = settings("settings.hcl", text.as_bytes()).unwrap_err();
    expected.assert_eq(&errors.render(false).to_string());
}

#[test]
fn everything_that_can_be_set() {
    let text = "budget {\n  per_hour = 100\n}\nlogs {\n  per_service = \"128MiB\"\n  in_all = \"4GiB\"\n  days = 30\n}\n\
                bundles {\n  per_hour = 3\n  in_all = \"2GiB\"\n  days = 7\n}\nwitness = \"file:/mnt/heads\"\n\
                otlp {\n  endpoint = \"https://c.example:4318\"\n  token_file = \"/etc/token\"\n  logs = false\n}\n";
    let expected = Settings {
        budget: Some(Budget { per_hour: 100, per_day: 500 }),
        log_service_bytes: Some(128 << 20),
        log_home_bytes: Some(4 << 30),
        log_days: Some(30),
        bundles_per_hour: Some(3),
        bundle_home_bytes: Some(2 << 30),
        bundle_days: Some(7),
        witness: Some("file:/mnt/heads".to_owned()),
        otlp: Some(Collector {
            endpoint: "https://c.example:4318".to_owned(),
            token_file: Some("/etc/token".to_owned()),
            metrics: true,
            logs: false,
            traces: true,
        }),
        ..Settings::default()
    };
    assert_eq!(settings("settings.hcl", text.as_bytes()).unwrap(), expected);
    for nothing in ["", "\n", "# nothing yet\n"] {
        assert_eq!(settings("settings.hcl", nothing.as_bytes()).unwrap(), Settings::default());
    }
}

#[test]
fn every_mistake_is_told_with_its_place() {
    check(
        "budget {\n  per_hour = 0\n}\nlogs {\n  in_all = \"4KiB\"\n  day = 3\n}\nbuget {\n}\nwitness = 3\n",
        expect![[r#"
            error[out-of-range]: `per_hour` of `budget` of the home must be from 1 to 1000000, not 0
             --> settings.hcl:2:14
              |
            2 |   per_hour = 0
              |              ^
              |
              = hint: a service whose servers are never replaced needs no budget, and one is the least

            error[out-of-range]: `in_all` of `logs` of the home must be at least 64KiB, not `4KiB`
             --> settings.hcl:5:12
              |
            5 |   in_all = "4KiB"
              |            ^^^^^^

            error[unknown-key]: `logs` of the home has no key `day`
             --> settings.hcl:6:3
              |
            6 |   day = 3
              |   ^^^
              |
              = hint: did you mean `days`?

            error[unknown-block]: the home has no block `buget`
             --> settings.hcl:8:1
              |
            8 | buget {
              | ^^^^^
              |
              = hint: did you mean `budget`?

            error[wrong-type]: `witness` of the home must be a string, not a number
              --> settings.hcl:10:11
               |
            10 | witness = 3
               |           ^ this is a number

            there are 5 errors in `settings.hcl`
        "#]],
    );
    check(
        "budget {\n  per_hour = 10\n  per_day = 5\n}\nservice \"a\" {\n}\n",
        expect![[r#"
            error[conflict]: `budget` of the home allows 10 servers in an hour and 5 in a whole day
             --> settings.hcl:3:13
              |
            3 |   per_day = 5
              |             ^
              |
              = hint: `per_day` is at least `per_hour`

            error[unknown-block]: the home has no block `service`
             --> settings.hcl:5:1
              |
            5 | service "a" {
              | ^^^^^^^^^^^
              |
              = hint: it has `alerts`, `api`, `budget`, `bundles`, `logs`, `otlp`, `witness`

            there are 2 errors in `settings.hcl`
        "#]],
    );
}

#[test]
fn who_may_use_the_api_and_who_hears_of_alerts() {
    let text = r#"
api {
  listen      = "[::]:8443"
  certificate = "/etc/hornero/api.pem"
  key         = "/etc/hornero/api.key"
  client_ca   = "/etc/hornero/clients.pem"
  hosts       = ["Hornero.example.com"]
  token "ci" {
    role   = "releaser"
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  }
  client "pager" {
    role = "viewer"
  }
  socket = "/run/hornero.sock"
  group "deployers" {
    role = "operator"
  }
}
alerts {
  alertmanager = "http://127.0.0.1:9093/"
  command      = "/usr/local/bin/page"
}
"#;
    let read = settings("settings.hcl", text.as_bytes()).unwrap();
    let listener = read.api.listener.unwrap();
    assert_eq!(listener.address.to_string(), "[::]:8443");
    assert_eq!(listener.tls.unwrap().key, "/etc/hornero/api.key");
    assert_eq!(listener.hosts, ["hornero.example.com"]);
    let token = &listener.tokens[0];
    assert_eq!((token.name.as_str(), token.role), ("ci", Role::Releaser));
    assert_eq!(token.sha256, Digest::of(b"test"));
    assert_eq!(listener.clients[0].role, Role::Viewer);
    assert_eq!(read.api.groups[0].role, Role::Operator);
    assert_eq!(read.alerts.alertmanager.as_deref(), Some("http://127.0.0.1:9093"));
    assert_eq!(read.alerts.command.as_deref(), Some("/usr/local/bin/page"));
}

#[test]
fn nothing_is_reached_from_elsewhere_without_tls() {
    check(
        "api {\n  listen = \"0.0.0.0:8080\"\n  token \"ci\" {\n    role = \"root\"\n    sha256 = \"s3cret-token\"\n  }\n}\n",
        expect![[r#"
            error[conflict]: `0.0.0.0:8080` is reached from elsewhere, and has no TLS
             --> settings.hcl:2:12
              |
            2 |   listen = "0.0.0.0:8080"
              |            ^^^^^^^^^^^^^^
              |
              = hint: add `certificate` and `key`, or listen on 127.0.0.1 or [::1]

            error[invalid-value]: `role` of token `ci` can't be `root`
             --> settings.hcl:4:12
              |
            4 |     role = "root"
              |            ^^^^^^
              |
              = hint: `role` is `viewer`, `operator`, `releaser`, `breaker` or `admin`

            error[invalid-value]: `sha256` of token `ci` is not 64 hex digits
             --> settings.hcl:5:14
              |
            5 |     sha256 = "s3cret-token"
              |              ^^^^^^^^^^^^^^
              |
              = hint: `hornero token new NAME --role ROLE` makes a token and prints the block

            there are 3 errors in `settings.hcl`
        "#]],
    );
    check(
        "api {\n  certificate = \"api.pem\"\n  client \"a\" {\n  }\n}\nalerts {\n  webhook = \"https://u:p@h/\"\n}\n",
        expect![[r#"
            error[missing-key]: `api` of the home needs `key`
             --> settings.hcl:1:1
              |
            1 | api {
              | ^^^
              |
              = hint: write `key = "/PATH"`, the key of `certificate`

            error[invalid-value]: `api.pem` is not an absolute path
             --> settings.hcl:2:17
              |
            2 |   certificate = "api.pem"
              |                 ^^^^^^^^^
              |
              = hint: it begins with `/`

            error[missing-key]: client `a` needs `role`
             --> settings.hcl:3:3
              |
            3 |   client "a" {
              |   ^^^^^^^^^^
              |
              = hint: write `role = "viewer"`, or more than that

            error[invalid-value]: `https://u:p@h/` is not such a URL
             --> settings.hcl:7:13
              |
            7 |   webhook = "https://u:p@h/"
              |             ^^^^^^^^^^^^^^^^
              |
              = hint: it begins with `http://` or `https://`, and has a host and no password

            there are 4 errors in `settings.hcl`
        "#]],
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = settings("settings.hcl", &bytes);
    }

    #[test]
    fn any_text_of_its_words_is_read_or_refused(text in "(budget|logs|days|=|\\{|\\}|\"|1|MiB|\n| ){0,40}") {
        let _ = settings("settings.hcl", text.as_bytes());
    }
}

#[test]
fn collectors_that_cannot_be() {
    for (lines, expected) in [
        ("", "`otlp` of the home needs `endpoint`"),
        ("endpoint = \"localhost:4318\"", "`localhost:4318` is not the URL of a collector"),
        ("endpoint = \"http://\"", "`http://` is not the URL of a collector"),
        ("endpoint = \"http://u:p@a\"", "is not the URL of a collector"),
        ("endpoint = \"http://a/b?c\"", "`http://a/b?c` is not the URL of a collector"),
        ("endpoint = \"http://a\"\n token_file = \"b\"", "`b` is not an absolute path"),
    ] {
        let text = format!("otlp {{\n {lines}\n}}\n");
        let errors = settings("settings.hcl", text.as_bytes()).unwrap_err();
        let told = errors.render(false).to_string();
        assert!(told.contains(expected), "{told}");
    }
}
