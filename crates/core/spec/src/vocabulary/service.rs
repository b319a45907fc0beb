//! Services.

use super::{
    check::{HTTP_CHECK, TCP_CHECK},
    guard::GUARD,
    words::{
        BlockWords,
        ValueKind::{
            Any, Commands, Duration, Flag, Map, Number, Reference, References, Size, Text, Texts,
            Whole, Word,
        },
        block, key, part, required,
    },
};

const PROTOCOLS: &[&str] = &["http", "tcp"];

const PROXY_PROTOCOLS: &[&str] = &["v1", "v2"];

pub(super) const STOP_SIGNALS: &[&str] =
    &["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH"];

const HEALTH: BlockWords = part(
    "health",
    "the health contract",
    &[
        key("interval", Duration, "time between two checks; `500ms` by default"),
        key("timeout", Duration, "how long a check may take; `1s` by default"),
        key("unhealthy_after", Whole, "failures in a row that take an instance out of traffic"),
        key("healthy_after", Whole, "passes in a row that bring an instance into traffic"),
        key("start_timeout", Duration, "time from start to the first passed check"),
    ],
    &[&HTTP_CHECK, &TCP_CHECK],
);

const TLS: BlockWords = part(
    "tls",
    "certificate and key of a route",
    &[
        required("certificate", Text, "absolute path of a PEM file on the host"),
        required("key", Text, "absolute path of a PEM file on the host"),
    ],
    &[],
);

const LIMITS: BlockWords = part(
    "limits",
    "what clients of the port may do",
    &[
        key("connections", Whole, "connections at the same time"),
        key("connections_per_source", Whole, "the same of one address"),
        key("head_timeout", Duration, "how long a head or handshake may take; `10s` by default"),
        key("idle_timeout", Duration, "how long a connection may be silent; `75s` by default"),
    ],
    &[],
);

const ROUTE: BlockWords = BlockWords {
    name: "route",
    label: None,
    meaning: "a way in from outside",
    keys: &[
        required("listen", Whole, "TCP port on the host"),
        key("port", Text, "name of the service's port that answers"),
        key("address", Text, "IP address of the host to listen on"),
        key("host", Text, "only requests for this host name"),
        key("path_prefix", Text, "only requests below this path"),
        key("protocol", Word(PROTOCOLS), "what is spoken"),
        key("trusted_proxies", Texts, "networks of proxies whose `X-Forwarded-*` is taken over"),
        key("proxy_protocol", Flag, "whether their connections begin with a PROXY header"),
        key("redirect_to", Whole, "port with TLS that clients are sent to instead, such as 443"),
    ],
    blocks: &[&LIMITS, &TLS],
    part: false,
};

const STICKY: BlockWords = part(
    "sticky",
    "by what a client's requests stick to one release of a canary",
    &[
        key("cookie", Text, "the name of a cookie"),
        key("header", Text, "the name of a field of the request"),
    ],
    &[],
);

const JUDGE: BlockWords = part(
    "judge",
    "how sure the judge of a canary has to be, and what it lets pass",
    &[
        key("false_alarms", Text, "how often a good canary may be taken back; `1%` by default"),
        key(
            "minimum_requests",
            Whole,
            "requests of each release before it counts as good; 100 by default",
        ),
        key("errors", Text, "errors more that don't count; `0.5%` by default"),
        key("slowdown", Text, "how much longer answers may take; `50%` by default"),
        key("pause", Duration, "how much longer they may take in any case; `5ms` by default"),
    ],
    &[],
);

const PROBE: BlockWords = part(
    "probe",
    "requests that the edge makes to both releases of a canary by itself",
    &[
        key("port", Text, "name of the port that is asked; every HTTP port by default"),
        key("path", Text, "path of the request; `/` by default"),
        key("interval", Duration, "how often each release is asked; `100ms` by default"),
    ],
    &[],
);

const ROLLOUT: BlockWords = part(
    "rollout",
    "how a release replaces the one before",
    &[
        key(
            "strategy",
            Word(&["blue_green", "canary", "rolling", "replace"]),
            "how sets follow each other",
        ),
        key("steps", Texts, "shares that a canary gets one after the other, such as `\"10%\"`"),
        key("step_timeout", Duration, "how long a step of a canary waits for a verdict"),
        key(
            "on_inconclusive",
            Word(&["abort", "promote", "wait"]),
            "what becomes of a canary without a verdict",
        ),
        key("hold", Duration, "how long requests wait while servers are replaced in their place"),
        key("hold_requests", Whole, "how many requests may wait then"),
        key("quiesce", Texts, "a command that is run before servers are replaced in their place"),
        key("quiesce_timeout", Duration, "how long that may take; `30s` by default"),
        key(
            "on_failure",
            Word(&["old_image", "snapshot"]),
            "what the old image comes back on where the new one fails",
        ),
        key("keep_snapshot", Duration, "how long the snapshot for that is kept; `7d` by default"),
        key("max_surge", Whole, "servers of a rolling rollout beyond those that are wanted"),
        key("drain_timeout", Duration, "how long requests in flight on the old set may take"),
        key("keep_warm", Duration, "how long the old set stays for a warm rollback"),
        key("watch", Duration, "how long the new set is watched before it counts as proven"),
    ],
    &[&STICKY, &JUDGE, &PROBE],
);

const MIGRATE: BlockWords = part(
    "migrate",
    "schema steps, each a server of its own that is run once for a release",
    &[
        key("expand", Commands, "commands that are run before anything of a release is started"),
        key("contract", Commands, "commands that are run once the release before is retired"),
        key("timeout", Duration, "how long each may take; `10m` by default"),
        key(
            "point_of_no_return",
            Word(&["contract", "switch"]),
            "from when on nothing goes back to a release before; `contract` by default",
        ),
        key(
            "first_release",
            Word(&["run", "skip"]),
            "whether they are run before any release has served; `skip` by default with a volume",
        ),
    ],
    &[],
);

pub(super) const RESOURCES: BlockWords = part(
    "resources",
    "limits of each instance",
    &[
        key("memory", Size, "memory; `256MiB` by default"),
        key("cpus", Number, "processor time in cores; 1 by default"),
        key("pids", Whole, "processes and threads; 256 by default"),
    ],
    &[],
);

const BUDGET: BlockWords = part(
    "budget",
    "how many servers Hornero may make by itself before it stops and waits for somebody",
    &[
        key("per_hour", Whole, "in an hour; 60 by default, or 10 for each instance"),
        key("per_day", Whole, "in a day; five times `per_hour` by default"),
    ],
    &[],
);

const METRICS: BlockWords = part(
    "metrics",
    "where each instance answers to a scrape",
    &[
        key("port", Any, "the port: a number, or a name of the service's; `http` by default"),
        key("path", Text, "path that is asked; `/metrics` by default"),
    ],
    &[],
);

const SCALE: BlockWords = part(
    "scale",
    "between how many servers the load decides, instead of `instances`",
    &[
        key(
            "minimum",
            Whole,
            "the fewest servers; 1 by default, 0 for none while no request comes",
        ),
        required("maximum", Whole, "the most servers"),
        key("in_flight", Whole, "requests in flight that one server shall have"),
        key("requests_per_second", Whole, "requests a second that one server shall get"),
        key(
            "cpu",
            Text,
            "the part of its processor limit that one server shall use, such as `70%`",
        ),
        key("stabilise", Duration, "how long fewer have to be enough; `60s` by default"),
        key(
            "idle",
            Duration,
            "with `minimum = 0`: after how long without a request none runs; `5m` by default",
        ),
        key(
            "hold",
            Duration,
            "with `minimum = 0`: how long a request waits for a server; `30s` by default",
        ),
        key("hold_requests", Whole, "with `minimum = 0`: how many may wait; 1000 by default"),
    ],
    &[],
);

const PORT: BlockWords = block(
    "port",
    "NAME",
    "a port of the service",
    &[
        required("container", Whole, "TCP port inside the instance"),
        key(
            "protocol",
            Word(&["http", "h2c", "tcp"]),
            "what is spoken; `h2c` is HTTP/2 without TLS",
        ),
        key("idle_timeout", Duration, "how long an idle connection to it is kept; `4s` by default"),
        key(
            "proxy_protocol",
            Word(PROXY_PROTOCOLS),
            "the PROXY header that connections to it begin with; none by default",
        ),
    ],
    &[],
);

const MOUNT: BlockWords = block(
    "mount",
    "PATH",
    "where a volume appears in a stateful service",
    &[required("volume", Reference, "the volume")],
    &[],
);

pub(super) const CONFIG: BlockWords = block(
    "config",
    "PATH",
    "a file laid over the root of each instance",
    &[
        key("source", Text, "template beside `hornero.hcl`; one of `source` and `content`"),
        key("content", Text, "what it holds"),
        key("mode", Text, "permission bits, as octal digits; `0644` by default"),
        key("owner", Text, "`USER` or `USER:GROUP`; `root` by default"),
    ],
    &[],
);

pub(super) const SERVICE_SECRET: BlockWords = block(
    "secret",
    "NAME",
    "a secret of the home that each instance finds as a file",
    &[
        required("path", Text, "where it is in the instance"),
        key("mode", Text, "permission bits, as octal digits; `0400` by default"),
        key("owner", Text, "`USER` or `USER:GROUP`; whom the command runs as by default"),
    ],
    &[],
);

pub(super) const SERVICE: BlockWords = block(
    "service",
    "NAME",
    "servers made from an image",
    &[
        required("image", Reference, "the image they are made from"),
        key("kind", Word(&["stateless", "stateful"]), "whether it holds data"),
        key("instances", Whole, "how many serve; 1 by default"),
        key("env", Map, "environment of the command, over the image's own"),
        key("not_state", Texts, "paths that hold no data, whatever is written there"),
        key("labels", Map, "what people say of it, such as `{ owner = \"shop\" }`"),
        key("egress", Flag, "whether instances may open connections to outside"),
        key("depends_on", References, "services that must be there first"),
        key("keep_releases", Whole, "how many of its newest proven releases keep their images"),
        key("keep_days", Whole, "age in days up to which releases keep their images"),
        key("stop_signal", Word(STOP_SIGNALS), "signal that asks an instance to end"),
        key("stop_grace", Duration, "how long an instance may take to end; `5s` by default"),
        key("max_age", Duration, "age after which an instance is to be replaced"),
        key(
            "require_fresh_rollback",
            Duration,
            "how old the last proof may be that it could go back, where something new is rolled out",
        ),
    ],
    &[
        &PORT,
        &HEALTH,
        &ROUTE,
        &ROLLOUT,
        &SCALE,
        &RESOURCES,
        &BUDGET,
        &METRICS,
        &MOUNT,
        &CONFIG,
        &SERVICE_SECRET,
        &GUARD,
        &MIGRATE,
    ],
);
