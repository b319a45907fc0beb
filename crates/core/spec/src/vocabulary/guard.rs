//! Data guards.

use super::words::{
    BlockWords,
    ValueKind::{Any, Duration, Flag, Text, Texts, Whole},
    block, key, part, required,
};

const PORT: &str = "the port: a number, or a name of the service's";
const USER: &str = "who asks";
const PASSWORD: &str = "the secret of the service that is the password";
const WITHIN: &str = "how long it is asked again until it passes; `30s` by default";

const POSTGRES: BlockWords = part(
    "postgres",
    "a PostgreSQL server is asked",
    &[
        key("port", Any, PORT),
        key("user", Text, USER),
        key("password", Text, PASSWORD),
        key("database", Text, "the database that is connected to; `postgres` by default"),
        key("open_transactions", Whole, "the most transactions of clients that may be open"),
        key("connections", Whole, "the most connections that clients may have"),
        key("replication_lag", Duration, "how far behind a replica may be"),
        key("within", Duration, WITHIN),
    ],
    &[],
);

const REDIS: BlockWords = part(
    "redis",
    "a Redis server is asked",
    &[
        key("port", Any, PORT),
        key("user", Text, USER),
        key("password", Text, PASSWORD),
        key("clients", Whole, "the most clients that may be connected"),
        key("pending_persistence", Whole, "the most saves and rewrites that may be under way"),
        key("unsaved_changes", Whole, "the most changes since the last save"),
        key("within", Duration, WITHIN),
    ],
    &[],
);

const AMQP: BlockWords = part(
    "amqp",
    "a server of AMQP 0-9-1, such as RabbitMQ, is asked",
    &[
        key("port", Any, PORT),
        key("user", Text, USER),
        key("password", Text, PASSWORD),
        key("vhost", Text, "the virtual host of the queue; `/` by default"),
        required("queue", Text, "the queue"),
        key("depth", Whole, "the most messages that may wait in it; 0 by default"),
        key("within", Duration, WITHIN),
    ],
    &[],
);

const NATS: BlockWords = part(
    "nats",
    "the monitoring port of a NATS server is asked, or with `api` or a login its JetStream",
    &[
        key("port", Any, PORT),
        key("user", Text, USER),
        key("password", Text, "the secret of the service that is the password, or the token"),
        key("api", Flag, "whether JetStream is asked as a client does; with a login it is"),
        required("stream", Text, "the stream of JetStream"),
        key("consumer", Text, "the consumer; the stream itself by default"),
        key("pending", Whole, "the most messages that may wait; 0 by default"),
        key("within", Duration, WITHIN),
    ],
    &[],
);

const JSON: BlockWords = part(
    "json",
    "what the answer has to say",
    &[
        required("field", Text, "names of fields with dots between them"),
        key("at_most", Whole, "the largest number that passes"),
        key("at_least", Whole, "the smallest number that passes"),
        key("equals", Any, "the text, number or bool that passes"),
    ],
    &[],
);

const HTTP: BlockWords = part(
    "http",
    "a server is asked by HTTP, and answers with a status of 200 to 299",
    &[
        key("port", Any, PORT),
        key("path", Text, "the path that is asked for; `/` by default"),
        key("user", Text, USER),
        key("password", Text, PASSWORD),
        key("within", Duration, WITHIN),
    ],
    &[&JSON],
);

pub(super) const GUARD: BlockWords = block(
    "guard",
    "NAME",
    "what is asked before a server is taken away",
    &[
        key("command", Texts, "a command that ends with 0, run in a server of its own"),
        key("within", Duration, WITHIN),
    ],
    &[&POSTGRES, &REDIS, &AMQP, &NATS, &HTTP],
);
