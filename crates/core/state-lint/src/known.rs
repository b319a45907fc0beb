//! Packages that hold data, and where.

use crate::facts::StateFacts;

/// A package whose program keeps data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StateHolder {
    /// The package; a version may follow, as in `postgresql-15`.
    pub package: &'static str,
    /// Programs by which a command is known to start it.
    pub programs: &'static [&'static str],
    /// Where its data lies unless it is configured otherwise.
    pub directory: &'static str,
    /// What it is.
    pub data: &'static str,
}

const fn holder(
    package: &'static str,
    programs: &'static [&'static str],
    directory: &'static str,
    data: &'static str,
) -> StateHolder {
    StateHolder { package, programs, directory, data }
}

impl StateHolder {
    /// Whether the command of a service names its program: else the package may be there for its client alone.
    pub fn is_started_by(&self, command: &[String]) -> bool {
        let words = command.iter().flat_map(|word| word.split(['/', ' ', ';']));
        words.into_iter().any(|word| self.programs.contains(&word))
    }
}

/// What Debian and the archives of these programs have; one for each that people were seen to lose data of.
const HOLDERS: &[StateHolder] = &[
    holder(
        "postgresql",
        &["postgres", "pg_ctl"],
        "/var/lib/postgresql",
        "the databases of PostgreSQL",
    ),
    holder("mariadb-server", &["mariadbd", "mysqld"], "/var/lib/mysql", "the databases of MariaDB"),
    holder("mysql-server", &["mysqld"], "/var/lib/mysql", "the databases of MySQL"),
    holder("mysql-community-server", &["mysqld"], "/var/lib/mysql", "the databases of MySQL"),
    holder(
        "percona-server-server",
        &["mysqld"],
        "/var/lib/mysql",
        "the databases of Percona Server",
    ),
    holder("redis-server", &["redis-server"], REDIS_DIRECTORY, "what Redis keeps on disk"),
    holder("valkey-server", &["valkey-server"], VALKEY_DIRECTORY, "what Valkey keeps on disk"),
    holder(
        "rabbitmq-server",
        &["rabbitmq-server"],
        "/var/lib/rabbitmq",
        "the queues and messages of RabbitMQ",
    ),
    holder("etcd-server", &["etcd"], "/var/lib/etcd", "the keys of etcd"),
    holder("etcd", &["etcd"], "/var/lib/etcd", "the keys of etcd"),
    holder("mongodb-server", &["mongod"], "/var/lib/mongodb", "the databases of MongoDB"),
    holder("mongodb-org-server", &["mongod"], "/var/lib/mongodb", "the databases of MongoDB"),
    holder("couchdb", &["couchdb"], "/var/lib/couchdb", "the databases of CouchDB"),
    holder("cassandra", &["cassandra"], "/var/lib/cassandra", "the tables of Cassandra"),
    holder(
        "clickhouse-server",
        &["clickhouse", "clickhouse-server"],
        "/var/lib/clickhouse",
        "the tables of ClickHouse",
    ),
    holder(
        "elasticsearch",
        &["elasticsearch"],
        "/var/lib/elasticsearch",
        "the indices of Elasticsearch",
    ),
    holder("opensearch", &["opensearch"], "/var/lib/opensearch", "the indices of OpenSearch"),
    holder("neo4j", &["neo4j"], "/var/lib/neo4j", "the graphs of Neo4j"),
    holder("zookeeper", &["zkServer.sh"], "/var/lib/zookeeper", "the nodes of ZooKeeper"),
    holder("slapd", &["slapd"], "/var/lib/ldap", "the entries of OpenLDAP"),
    holder("influxdb", &["influxd"], "/var/lib/influxdb", "the series of InfluxDB"),
    holder("prometheus", &["prometheus"], "/var/lib/prometheus", "the series of Prometheus"),
    holder(
        "victoria-metrics",
        &["victoria-metrics"],
        "/var/lib/victoria-metrics",
        "the series of VictoriaMetrics",
    ),
    holder(
        "grafana",
        &["grafana", "grafana-server"],
        "/var/lib/grafana",
        "the dashboards of Grafana",
    ),
    holder("mosquitto", &["mosquitto"], "/var/lib/mosquitto", "the retained messages of Mosquitto"),
    holder("beanstalkd", &["beanstalkd"], "/var/lib/beanstalkd", "the jobs of beanstalkd"),
    holder(
        "docker-registry",
        &["docker-registry"],
        "/var/lib/docker-registry",
        "the images of the registry",
    ),
    holder("prosody", &["prosody"], "/var/lib/prosody", "the accounts of Prosody"),
    holder("samba", &["smbd", "samba"], "/var/lib/samba", "the accounts of Samba"),
    holder(
        "postfix",
        &["postfix"],
        "/var/spool/postfix",
        "the mail that Postfix has not delivered",
    ),
];

const REDIS_DIRECTORY: &str = "/var/lib/redis";
const VALKEY_DIRECTORY: &str = "/var/lib/valkey";

/// The holders whose packages an image has, each with the name of the package there; one for each directory.
pub(crate) fn holders(facts: &StateFacts) -> Vec<(&'static StateHolder, &str)> {
    let mut found: Vec<(&'static StateHolder, &str)> = Vec::new();
    for holder in HOLDERS {
        let package = facts.packages.iter().find(|package| is_package(package, holder.package));
        let is_known = found.iter().any(|(other, _)| other.directory == holder.directory);
        if let (Some(package), false) = (package, is_known || keeps_nothing(holder, facts)) {
            found.push((holder, package.as_str()));
        }
    }
    found
}

/// Whether a package is this one, or this one of a version: a name, `-`, digits and dots. What is asked for as `name=version`
/// counts as its name.
fn is_package(package: &str, name: &str) -> bool {
    let package = package.split('=').next().unwrap_or_default();
    let Some(rest) = package.strip_prefix(name) else { return false };
    let is_version = |version: &str| {
        !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    rest.is_empty() || rest.strip_prefix('-').is_some_and(is_version)
}

/// Whether the command says that nothing is kept on disk, as caches are started: `redis-server --save ""`.
fn keeps_nothing(holder: &StateHolder, facts: &StateFacts) -> bool {
    if ![REDIS_DIRECTORY, VALKEY_DIRECTORY].contains(&holder.directory) {
        return false;
    }
    let has = |option: &str, values: &[&str]| {
        let pairs = facts.command.windows(2);
        pairs.into_iter().any(|pair| pair[0] == option && values.contains(&pair[1].as_str()))
    };
    has("--save", &["", "\"\""]) && !has("--appendonly", &["yes"])
}
