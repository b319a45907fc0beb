//! Switches and rollbacks in turn under constant load of every kind: no request fails, by anybody's count.

use std::{fs, path::Path, time::Duration};

use hornero_load::{Mode, Workers};

use crate::{home::Home, traffic::Traffic};

/// Switches in a run of the tests; the bench runs longer ones.
const SWITCHES: u64 = 100;

/// The load generator's own server, copied into an image: streams, WebSockets and pages that name their release.
fn write(home: &Home, version: &str) {
    home.write(
        "hornero.hcl",
        &format!(
            r#"
image "small" {{
  debian = "bookworm"
}}

image "site" {{
  from    = image.small
  copy "hornero-load" {{ to = "/usr/bin/hornero-load" }}
  user    = "www-data"
  command = ["/usr/bin/hornero-load", "serve", "--listen", "0.0.0.0:8080", "--marker", "{version}"]
  test "serves" {{ http = {{ port = 8080, path = "/health", status = 200 }} }}
}}

service "site" {{
  image     = image.site
  instances = 2
  port "http" {{ container = 8080 }}
  health {{
    http     = {{ port = "http", path = "/health" }}
    interval = "200ms"
  }}
  route {{
    listen  = {}
    address = "127.0.0.1"
    port    = "http"
  }}
  rollout {{
    watch         = "50ms"
    drain_timeout = "30s"
  }}
}}
"#,
            home.port
        ),
    );
}

fn load_binary() -> std::path::PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_hornero")).with_file_name("hornero-load");
    assert!(binary.exists(), "`{}` is built by `cargo xtask test`", binary.display());
    binary
}

#[test]
fn no_request_is_lost_over_a_hundred_switches() {
    let home = Home::new();
    fs::copy(load_binary(), home.project().join("hornero-load")).unwrap();
    write(&home, "v1");
    home.up();
    let pause = Duration::from_millis(10);
    let traffic = Traffic::of(
        home.port,
        vec![
            Workers::new(Mode::KeepAlive, 4, "/").every(pause),
            Workers::new(Mode::NewConnection, 4, "/").every(pause),
            Workers::new(Mode::Slow, 2, "/stream?bytes=60000&ms=400"),
            // A set drains until its last WebSocket ends: sessions of half a second keep the test short.
            Workers::new(Mode::WebSocket, 1, "/echo").every(pause).sessions_of(50),
        ],
    );
    let mut failed_by_receipts = 0;
    let mut note = |receipt: &serde_json::Value| {
        assert!(receipt["signature"].is_string(), "{receipt}");
        failed_by_receipts +=
            receipt["requests_failed"].as_u64().unwrap() + receipt["cut_off"].as_u64().unwrap();
    };
    for switch in 1..=SWITCHES {
        if switch % 2 == 1 {
            write(&home, &format!("v{}", switch + 1));
            note(&home.up()["services"][0]["receipt"]);
        } else {
            note(&home.run(&["rollback", "site", "--json"]).expect(0).json());
        }
    }
    let report = traffic.stop_whole();
    assert_eq!(failed_by_receipts, report.failed, "load and receipts agree");
    assert!(
        report.modes.values().all(|mode| mode.ok > 0),
        "every kind of load was there: {:?}",
        report.modes
    );
    let receipts = home.run(&["receipt", "--json"]).expect(0).json();
    assert_eq!(receipts.as_array().unwrap().len() as u64, SWITCHES + 1);
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
