//! Data guards: what is asked of a server before it is taken away.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{GuardName, InstanceId, Millis, SecretLabel};

/// A question that a service's servers are asked before they are stopped for something that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataGuard {
    /// Its name.
    pub name: GuardName,
    /// What is asked.
    pub probe: DataProbe,
    /// How long it is asked again until it passes.
    pub within: Millis,
}

/// How a server is asked, and what it has to answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataProbe {
    /// By PostgreSQL's protocol.
    Postgres(PostgresProbe),
    /// By that of Redis.
    Redis(RedisProbe),
    /// By AMQP 0-9-1, as RabbitMQ has it.
    Amqp(AmqpProbe),
    /// By the monitoring port of a NATS server, or the API of its JetStream.
    Nats(NatsProbe),
    /// By HTTP.
    Http(HttpProbe),
    /// By a command that ends with 0, in a server of its own.
    Command(Vec<String>),
}

/// Who asks, where the server wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeLogin {
    /// The user; empty where none is named.
    pub user: String,
    /// The secret of the service that is the password; none where none is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretLabel>,
}

/// What a PostgreSQL server is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresProbe {
    /// TCP port inside the instance.
    pub port: u16,
    /// Who asks.
    pub login: ProbeLogin,
    /// The database that is connected to.
    pub database: String,
    /// The most transactions of clients that may be open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_transactions: Option<u32>,
    /// The most connections that clients may have, beside the one that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// How far the replica that is furthest behind may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_lag: Option<Millis>,
}

/// What a Redis server is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisProbe {
    /// TCP port inside the instance.
    pub port: u16,
    /// Who asks.
    pub login: ProbeLogin,
    /// The most clients that may be connected, beside the one that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<u32>,
    /// The most saves, rewrites and syncs that may be under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_persistence: Option<u32>,
    /// The most changes since the last save.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsaved_changes: Option<u32>,
}

/// What an AMQP server is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpProbe {
    /// TCP port inside the instance.
    pub port: u16,
    /// Who asks.
    pub login: ProbeLogin,
    /// The virtual host of the queue.
    pub vhost: String,
    /// The queue.
    pub queue: String,
    /// The most messages that may wait in it.
    pub depth: u32,
}

/// What a NATS server is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatsProbe {
    /// The port inside the instance: the monitoring one, or that of clients where somebody asks there.
    pub port: u16,
    /// The stream of JetStream.
    pub stream: String,
    /// The consumer; none where the messages of the stream itself count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// The most messages that may wait.
    pub pending: u32,
    /// Who asks JetStream's API as a client; without a user the password is a token. None where the monitoring port is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<ProbeLogin>,
}

impl NatsProbe {
    /// Whether a stream or consumer may be called so: a part of a subject, without what has a meaning in one.
    pub fn is_name(text: &str) -> bool {
        let is_plain = |letter: char| {
            !letter.is_control() && !letter.is_whitespace() && !".*>/\\".contains(letter)
        };
        !text.is_empty() && text.len() <= 255 && text.chars().all(is_plain)
    }
}

/// What is asked by HTTP: a GET whose answer has a status of 200 to 299.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// TCP port inside the instance.
    pub port: u16,
    /// Request target, beginning with `/`.
    pub path: String,
    /// Who asks, by the basic scheme; none where nobody has to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<ProbeLogin>,
    /// What the answer has to say as JSON; none where the status is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonCondition>,
}

/// A condition on one value of a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonCondition {
    /// Names of fields, and places in lists counted from 0, with dots between them: `queue.messages`.
    pub field: String,
    /// What it has to be.
    pub is: JsonTest,
}

/// What a value of a JSON document has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JsonTest {
    /// A number that is not larger.
    AtMost(u32),
    /// A number that is not smaller.
    AtLeast(u32),
    /// Text, a number or a bool that is written so.
    Equals(String),
}

/// What a guard says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuardVerdict {
    /// The server may go.
    Passes,
    /// It may not.
    Refuses,
    /// Nobody can tell, which is no pass: it did not answer, or with something that can't be understood.
    Unanswered,
}

/// What a guard saw when it was last asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardAnswer {
    /// Which guard.
    pub guard: GuardName,
    /// The server that was asked; absent where none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// What it says.
    pub verdict: GuardVerdict,
    /// What was seen, in a few words.
    pub seen: String,
}

/// One number that a guard looks at, and how large it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardMeasure {
    /// What it counts, such as "open transactions".
    pub what: &'static str,
    /// What was seen.
    pub seen: u64,
    /// The most that passes.
    pub most: u64,
    /// What stands behind both, such as " ms".
    pub unit: &'static str,
}

impl DataProbe {
    /// Its word in `hornero.hcl`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
            Self::Amqp(_) => "amqp",
            Self::Nats(_) => "nats",
            Self::Http(_) => "http",
            Self::Command(_) => "command",
        }
    }

    /// The secret that is its password, where it has one.
    pub fn password(&self) -> Option<&SecretLabel> {
        let login = match self {
            Self::Postgres(probe) => Some(&probe.login),
            Self::Redis(probe) => Some(&probe.login),
            Self::Amqp(probe) => Some(&probe.login),
            Self::Nats(probe) => probe.login.as_ref(),
            Self::Http(probe) => probe.login.as_ref(),
            Self::Command(_) => None,
        };
        login?.password.as_ref()
    }
}

impl JsonCondition {
    /// Whether a document fulfils it, and what it has there; none where it has nothing that can be compared.
    pub fn look(&self, document: &serde_json::Value) -> Option<(bool, String)> {
        let mut value = document;
        for name in self.field.split('.') {
            value = match value {
                serde_json::Value::Array(list) => list.get(name.parse::<usize>().ok()?)?,
                other => other.get(name)?,
            };
        }
        let shown = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(_) | serde_json::Value::Bool(_) => value.to_string(),
            serde_json::Value::Null
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => return None,
        };
        let holds = match &self.is {
            JsonTest::AtMost(most) => value.as_f64()? <= f64::from(*most),
            JsonTest::AtLeast(least) => value.as_f64()? >= f64::from(*least),
            JsonTest::Equals(text) => shown == *text,
        };
        Some((holds, shown))
    }
}

impl fmt::Display for JsonTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::Equals(text) => write!(f, "`{text}`"),
        }
    }
}

impl GuardVerdict {
    /// What numbers come to: each has to be small enough.
    pub fn of(measures: &[GuardMeasure]) -> (Self, String) {
        let passes = measures.iter().all(|measure| measure.seen <= measure.most);
        let verdict = if passes { Self::Passes } else { Self::Refuses };
        let shown: Vec<String> = measures.iter().map(ToString::to_string).collect();
        (verdict, shown.join(", "))
    }
}

impl fmt::Display for GuardMeasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, seen, most, unit } = self;
        write!(f, "{seen}{unit} {what} (at most {most}{unit})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_to_be_small_enough() {
        let measure = |what, seen, most| GuardMeasure {
            what,
            seen,
            most,
            unit: if most > 99 { " ms" } else { "" },
        };
        let verdict = |measures: &[GuardMeasure]| GuardVerdict::of(measures);
        let one = measure("open transactions", 1, 0);
        let lag = measure("replication lag", 40, 100);
        assert_eq!(
            verdict(&[one, lag.clone()]),
            (
                GuardVerdict::Refuses,
                "1 open transactions (at most 0), 40 ms replication lag (at most 100 ms)"
                    .to_owned()
            )
        );
        assert_eq!(verdict(&[lag]).0, GuardVerdict::Passes);
    }

    #[test]
    fn a_condition_is_on_one_value_of_a_document() {
        let document: serde_json::Value = serde_json::from_str(
            r#"{"a":{"list":[{"n":3},{"n":4.5}],"state":"idle","none":null}}"#,
        )
        .unwrap();
        let look = |field: &str, is: JsonTest| {
            JsonCondition { field: field.to_owned(), is }.look(&document)
        };
        let idle = JsonTest::Equals("idle".to_owned());
        assert_eq!(look("a.list.0.n", JsonTest::AtMost(3)), Some((true, "3".to_owned())));
        assert_eq!(look("a.list.1.n", JsonTest::AtMost(4)), Some((false, "4.5".to_owned())));
        assert_eq!(look("a.list.1.n", JsonTest::AtLeast(4)), Some((true, "4.5".to_owned())));
        assert_eq!(look("a.state", idle.clone()), Some((true, "idle".to_owned())));
        for (field, is) in [
            ("a.list.2.n", JsonTest::AtMost(3)),
            ("a.list.x.n", JsonTest::AtMost(3)),
            ("a.state", JsonTest::AtMost(3)),
            ("a.none", idle.clone()),
            ("a.list", idle.clone()),
            ("", idle),
        ] {
            assert_eq!(look(field, is), None, "{field}");
        }
    }
}
