//! The examples of servers with data, as trials bring them up: with a port of their own, and an image that differs each time.

use std::{net::SocketAddr, sync::Arc};

use crate::writes::{AmqpStore, HttpStore, NatsStore, PostgresStore, RedisStore, WriteStore};

/// One of the examples.
#[derive(Debug, Clone, Copy)]
pub struct StatefulExample {
    /// The name of its directory.
    pub name: &'static str,
    /// Its service.
    pub service: &'static str,
    /// Its volume.
    pub volume: &'static str,
    /// The files beside its `hornero.hcl`.
    pub files: &'static [(&'static str, &'static str)],
    /// Its guard, as it stands there; empty where it has none. What a trial writes is not read by anybody, so it has none.
    pub guard: &'static str,
    text: &'static str,
    /// A line of its image, and what stands in its place so that images differ by `NUMBER`.
    image: (&'static str, &'static str),
    /// Where its route listens.
    listen: &'static str,
    store: fn(SocketAddr) -> Arc<dyn WriteStore>,
}

/// All of them.
pub const STATEFUL_EXAMPLES: [StatefulExample; 5] = [POSTGRES, REDIS, RABBITMQ, NATS, SQLITE];

const POSTGRES: StatefulExample = StatefulExample {
    name: "postgres",
    service: "db",
    volume: "orders",
    files: &[("pg_hba.conf", include_str!("../../../../examples/postgres/pg_hba.conf"))],
    guard: "",
    text: include_str!("../../../../examples/postgres/hornero.hcl"),
    image: ("  user = \"postgres\"\n", "  user = \"postgres\"\n  env  = { IMAGE = \"NUMBER\" }\n"),
    listen: "listen   = 5432",
    store: |address| Arc::new(PostgresStore { address }),
};

const REDIS: StatefulExample = StatefulExample {
    name: "redis",
    service: "redis",
    volume: "cache",
    files: &[("redis.conf", include_str!("../../../../examples/redis/redis.conf"))],
    guard: "",
    text: include_str!("../../../../examples/redis/hornero.hcl"),
    image: (
        "  user    = \"redis\"\n",
        "  user    = \"redis\"\n  env     = { IMAGE = \"NUMBER\" }\n",
    ),
    listen: "listen   = 6379",
    store: |address| Arc::new(RedisStore { address }),
};

const RABBITMQ: StatefulExample = StatefulExample {
    name: "rabbitmq",
    service: "rabbitmq",
    volume: "queues",
    files: &[
        ("rabbitmq.conf", include_str!("../../../../examples/rabbitmq/rabbitmq.conf")),
        ("definitions.json", include_str!("../../../../examples/rabbitmq/definitions.json")),
    ],
    guard: r#"guard "nothing-ready" { amqp = { queue = "orders", depth = 0, within = "30s" } }"#,
    text: include_str!("../../../../examples/rabbitmq/hornero.hcl"),
    image: ("  env = {\n", "  env = {\n    IMAGE = \"NUMBER\"\n"),
    listen: "listen   = 5672",
    store: |address| Arc::new(AmqpStore { address, queue: "orders".to_owned() }),
};

const NATS: StatefulExample = StatefulExample {
    name: "nats",
    service: "nats",
    volume: "streams",
    files: &[("nats-server.conf", include_str!("../../../../examples/nats/nats-server.conf"))],
    guard: r#"#   guard "mailed" { nats = { stream = "orders", consumer = "mail", pending = 0 } }"#,
    text: include_str!("../../../../examples/nats/hornero.hcl"),
    image: ("  user    = \"nats\"\n", "  user    = \"nats\"\n  env     = { IMAGE = \"NUMBER\" }\n"),
    listen: "listen   = 4222",
    store: |address| Arc::new(NatsStore { address, stream: "orders".to_owned() }),
};

const SQLITE: StatefulExample = StatefulExample {
    name: "sqlite",
    service: "notes",
    volume: "notes",
    files: &[("notes.py", include_str!("../../../../examples/sqlite/notes.py"))],
    guard: "",
    text: include_str!("../../../../examples/sqlite/hornero.hcl"),
    image: (
        "  user    = \"www-data\"\n",
        "  user    = \"www-data\"\n  env     = { IMAGE = \"NUMBER\" }\n",
    ),
    listen: "listen  = 8080",
    store: |address| Arc::new(HttpStore { address, path: "/notes".to_owned() }),
};

impl StatefulExample {
    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        STATEFUL_EXAMPLES.into_iter().find(|example| example.name == name)
    }

    /// Its `hornero.hcl` with a port of the host, an image of that number, and this in the place of its guard. New
    /// connections wait for two minutes: a machine may be slow.
    ///
    /// # Panics
    /// If the example is not as it is known here.
    pub fn text(&self, port: u16, number: u32, guard: &str) -> String {
        let listen = self.listen.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let own_image = self.image.1.replace("NUMBER", &number.to_string());
        let mut text = self.text.to_owned();
        for (example, own) in [
            (self.image.0, own_image.as_str()),
            (self.listen, &format!("{listen}{port}")),
            (self.guard, guard),
        ] {
            assert!(text.contains(example), "the example has no `{example}`");
            if !example.is_empty() {
                text = text.replace(example, own);
            }
        }
        let hold = text.lines().find(|line| line.trim_start().starts_with("hold "));
        let hold = hold.expect("the example holds connections").to_owned();
        text.replace(&hold, "    hold = \"2m\"")
    }

    /// What its clients write to.
    pub fn store(&self, address: SocketAddr) -> Arc<dyn WriteStore> {
        (self.store)(address)
    }
}
