//! What is asked before servers are taken away, as it is written.

use expect_test::expect;
use hornero_model::{DataGuard, DataProbe, JsonTest, Millis};

use crate::check::{check, good};

fn file(service: &str, volume: &str) -> String {
    format!(
        "image \"a\" {{\n  debian = \"bookworm\"\n  command = [\"/a\"]\n}}\n\
         volume \"v\" {{\n  size = \"1GiB\"\n{volume}}}\n\
         service \"a\" {{\n  image = image.a\n  kind = \"stateful\"\n  mount \"/d\" {{ volume = volume.v }}\n  \
         port \"pg\" {{ container = 5433 }}\n  secret \"pw\" {{ path = \"/run/pw\" }}\n{service}}}\n"
    )
}

fn guards(service: &str, volume: &str) -> Vec<DataGuard> {
    good(&file(service, volume)).services.into_values().next().unwrap().guards
}

#[test]
fn of_services_and_volumes() {
    let service = r#"
  guard "b-idle" { postgres = { open_transactions = 0, within = "5s", user = "watch", password = "pw" } }
  guard "c-saved" {
    redis { pending_persistence = 0 }
    within = "1m"
  }
  guard "d-queue" { amqp = { queue = "orders", port = "pg" } }
  guard "e-stream" { nats = { stream = "ORDERS", consumer = "mail", pending = 2 } }
  guard "f-depth" { http = { path = "/depth", json = { field = "queue.0.depth", at_most = 3 } } }
  guard "h-token" { nats = { stream = "ORDERS", password = "pw", port = "pg" } }
  guard "i-anybody" { nats = { stream = "ORDERS", api = true, port = 4222 } }
  guard "g-state" { http = { port = 9000, json = { field = "idle", equals = true } } }
"#;
    let guards = guards(service, "  guard \"a-mine\" { command = [\"/srv/check\", \"x\"] }\n");
    let names: Vec<&str> = guards.iter().map(|guard| guard.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "a-mine",
            "b-idle",
            "c-saved",
            "d-queue",
            "e-stream",
            "f-depth",
            "g-state",
            "h-token",
            "i-anybody"
        ]
    );
    let within: Vec<u64> = guards.iter().map(|guard| guard.within.0).collect();
    assert_eq!(within, [30_000, 5_000, 60_000, 30_000, 30_000, 30_000, 30_000, 30_000, 30_000]);
    let json = |index: usize| serde_json::to_string(&guards[index].probe).unwrap();
    assert_eq!(json(0), r#"{"command":["/srv/check","x"]}"#);
    assert_eq!(
        json(1),
        r#"{"postgres":{"port":5433,"login":{"user":"watch","password":"pw"},"database":"postgres","open_transactions":0}}"#
    );
    assert_eq!(json(2), r#"{"redis":{"port":5433,"login":{"user":""},"pending_persistence":0}}"#);
    assert_eq!(
        json(3),
        r#"{"amqp":{"port":5433,"login":{"user":"guest"},"vhost":"/","queue":"orders","depth":0}}"#
    );
    assert_eq!(
        json(4),
        r#"{"nats":{"port":8222,"stream":"ORDERS","consumer":"mail","pending":2}}"#
    );
    assert_eq!(
        json(7),
        r#"{"nats":{"port":5433,"stream":"ORDERS","pending":0,"login":{"user":"","password":"pw"}}}"#
    );
    assert_eq!(
        json(8),
        r#"{"nats":{"port":4222,"stream":"ORDERS","pending":0,"login":{"user":""}}}"#
    );
    let DataProbe::Http(http) = &guards[6].probe else { panic!("{:?}", guards[6]) };
    assert_eq!((http.port, http.path.as_str(), &http.login), (9_000, "/", &None));
    assert_eq!(http.json.as_ref().unwrap().is, JsonTest::Equals("true".to_owned()));
    assert_eq!(guards[1].within, Millis(5_000));
}

#[test]
fn what_is_no_guard() {
    check(
        &file(
            r#"  guard "two" {
    command = ["/a"]
    redis   = { clients = 0 }
  }
  guard "none" { within = "5s" }
  guard "empty" { postgres = {} }
  guard "who" { redis = { clients = 0, password = "other", port = "pq" } }
  guard "what" { http = { json = { field = "a", at_most = 1, at_least = 1 } } }
  guard "same" { command = ["/a"] }
  guard "long" { nats = { within = "2h" } }
  guard "name" { nats = { stream = "orders.new" } }
"#,
            "  guard \"same\" { command = [\"/a\"] }\n",
        ),
        expect![[r#"
            error[duplicate-name]: service `a` has two guards `same`
              --> hornero.hcl:7:3
               |
             7 |   guard "same" { command = ["/a"] }
               |   ^^^^^^^^^^^^
            ...
            23 |   guard "same" { command = ["/a"] }
               |   ------------ the first is here

            error[conflict]: guard `two` has 2 probes
              --> hornero.hcl:15:3
               |
            15 |   guard "two" {
               |   ^^^^^^^^^^^
               |
               = hint: a guard has one of `postgres`, `redis`, `amqp`, `nats`, `http` and `command`; write a guard for each

            error[conflict]: guard `none` asks nothing
              --> hornero.hcl:19:3
               |
            19 |   guard "none" { within = "5s" }
               |   ^^^^^^^^^^^^
               |
               = hint: a guard has one of `postgres`, `redis`, `amqp`, `nats`, `http` and `command`; write a guard for each

            error[missing-key]: `postgres` of guard `empty` looks at nothing
              --> hornero.hcl:20:30
               |
            20 |   guard "empty" { postgres = {} }
               |                              ^^
               |
               = hint: write at least one of `open_transactions`, `connections` and `replication_lag`

            error[unknown-reference]: service `a` has no secret `other`
              --> hornero.hcl:21:51
               |
            21 |   guard "who" { redis = { clients = 0, password = "other", port = "pq" } }
               |                                                   ^^^^^^^
               |
               = hint: give the service the secret that its server knows: `secret "other" { path = … }`

            error[unknown-reference]: the service has no port `pq`
              --> hornero.hcl:21:67
               |
            21 |   guard "who" { redis = { clients = 0, password = "other", port = "pq" } }
               |                                                                   ^^^^
               |
               = hint: did you mean `pg`?

            error[conflict]: `json` of `http` of guard `what` has 2 conditions
              --> hornero.hcl:22:34
               |
            22 |   guard "what" { http = { json = { field = "a", at_most = 1, at_least = 1 } } }
               |                                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               |
               = hint: write one of `at_most`, `at_least` and `equals`

            error[missing-key]: `nats` of guard `long` needs `stream`
              --> hornero.hcl:24:25
               |
            24 |   guard "long" { nats = { within = "2h" } }
               |                         ^^^^^^^^^^^^^^^^^
               |
               = hint: write `stream = "ORDERS"`

            error[out-of-range]: `within` of `nats` of guard `long` must be at most 1h
              --> hornero.hcl:24:36
               |
            24 |   guard "long" { nats = { within = "2h" } }
               |                                    ^^^^

            error[invalid-name]: `orders.new` is no name of a stream or consumer
              --> hornero.hcl:25:36
               |
            25 |   guard "name" { nats = { stream = "orders.new" } }
               |                                    ^^^^^^^^^^^^
               |
               = hint: NATS takes up to 255 bytes without spaces, `.`, `*`, `>` and slashes; a subject is none

            there are 10 errors in `hornero.hcl`
        "#]],
    );
}
