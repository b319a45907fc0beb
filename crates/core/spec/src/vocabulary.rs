//! Every block and key of `hornero.hcl` as data, for schemas, grammars and whoever helps to write the file.
//!
//! A test asks the reader of each block which names it takes, so none is missing here and none is made up.

/// A kind of block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockWords {
    /// Its kind, such as `image`.
    pub name: &'static str,
    /// What its label is, where it has one.
    pub label: Option<&'static str>,
    /// What it declares, in a few words.
    pub meaning: &'static str,
    /// Its keys.
    pub keys: &'static [KeyWords],
    /// Its blocks.
    pub blocks: &'static [&'static BlockWords],
    /// Whether there is one at most, which may be written as an object, too.
    pub part: bool,
}

/// A key of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyWords {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub value: ValueKind,
    /// Whether it must be there in every block of its kind.
    pub required: bool,
    /// What it means, in a few words.
    pub meaning: &'static str,
}

/// What a key's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// A span of time, such as `"30s"`.
    Duration,
    /// A size, such as `"64MiB"`.
    Size,
    /// A list of text.
    Texts,
    /// An object whose values are text, numbers or bools.
    Map,
    /// A list of paths, or of objects with path and size.
    Scratch,
    /// A reference to a block, or text.
    Reference,
    /// A list of references to blocks.
    References,
    /// Anything.
    Any,
}

use ValueKind::{
    Any, Duration, Flag, Map, Number, Reference, References, Scratch, Size, Text, Texts, Whole,
    Word,
};

const fn key(name: &'static str, value: ValueKind, meaning: &'static str) -> KeyWords {
    KeyWords { name, value, required: false, meaning }
}

const fn required(name: &'static str, value: ValueKind, meaning: &'static str) -> KeyWords {
    KeyWords { name, value, required: true, meaning }
}

const fn part(
    name: &'static str,
    meaning: &'static str,
    keys: &'static [KeyWords],
    blocks: &'static [&'static BlockWords],
) -> BlockWords {
    BlockWords { name, label: None, meaning, keys, blocks, part: true }
}

const fn block(
    name: &'static str,
    label: &'static str,
    meaning: &'static str,
    keys: &'static [KeyWords],
    blocks: &'static [&'static BlockWords],
) -> BlockWords {
    BlockWords { name, label: Some(label), meaning, keys, blocks, part: false }
}

const PROTOCOLS: &[&str] = &["http", "tcp"];

const PROXY_PROTOCOLS: &[&str] = &["v1", "v2"];

const STOP_SIGNALS: &[&str] =
    &["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH"];

const HTTP_CHECK: BlockWords = part(
    "http",
    "a request that must be answered",
    &[
        key("port", Any, "the port: a number, or a name of the service's"),
        key("path", Text, "the path that is asked for; `/` by default"),
        key("status", Whole, "the status that passes; any of 200 to 399 by default"),
        key("contains", Text, "text in the first 64 KiB of the body"),
    ],
    &[],
);

const TCP_CHECK: BlockWords = part(
    "tcp",
    "a port that must accept a connection",
    &[key("port", Any, "the port: a number, or a name of the service's")],
    &[],
);

const COPY: BlockWords = block(
    "copy",
    "SOURCE",
    "a file or directory that goes into the image",
    &[
        required("to", Text, "absolute path in the image"),
        key("mode", Text, "permission bits, as octal digits"),
        key("owner", Text, "`USER` or `USER:GROUP`"),
    ],
    &[],
);

const PROVISION: BlockWords = block(
    "provision",
    "KIND",
    "a build step: `shell` or `ansible`",
    &[
        key("inline", Texts, "shell: commands, in one shell that ends at the first that fails"),
        key("script", Text, "shell: a file of the directory"),
        key("playbook", Text, "ansible: a playbook of the directory"),
        key("extra_vars", Map, "ansible: variables over all others"),
        key("groups", Texts, "ansible: groups of the inventory that the image is in"),
        key("env", Map, "environment of the step, over the image's own"),
        key("network", Flag, "whether it has a network"),
        key("secrets", Texts, "names of secrets of the image"),
    ],
    &[],
);

const SECRET: BlockWords = block(
    "secret",
    "NAME",
    "a value for provisions that name it, never stored",
    &[
        key("env", Text, "environment variable of the process that bakes"),
        key("file", Text, "file, absolute or relative to the directory"),
    ],
    &[],
);

const ARCHIVE: BlockWords = block(
    "archive",
    "NAME",
    "an archive of packages besides Debian's",
    &[
        required("url", Text, "its address"),
        required("suite", Text, "its suite; ends in `/` where its lists lie in a directory"),
        key("components", Texts, "its components; `main` by default"),
        required("signed_by", Text, "file with the keys that may sign it"),
    ],
    &[],
);

const TEST: BlockWords = block(
    "test",
    "NAME",
    "what must pass before a release gets traffic",
    &[
        key("run", Texts, "program and arguments; exit 0 passes"),
        key("timeout", Duration, "how long it may take; `30s` by default"),
    ],
    &[&HTTP_CHECK, &TCP_CHECK],
);

const IMAGE: BlockWords = block(
    "image",
    "NAME",
    "a golden image",
    &[
        key("debian", Text, "the Debian suite that it is made on"),
        key("from", Reference, "the image that it is made on"),
        key("mirror", Text, "address of the archive for `debian`"),
        key("keyring", Text, "keyring for `mirror`"),
        key("packages", Texts, "Debian packages to install"),
        key("run", Texts, "shell commands in the build sandbox"),
        key("network", Flag, "whether `run` and provisions have a network"),
        key(
            "max_size",
            Size,
            "what one step may write and one package unpack to; `64GiB` by default",
        ),
        key("user", Text, "whom the command runs as"),
        key("command", Texts, "the program and its arguments"),
        key("env", Map, "environment of the command"),
        key("workdir", Text, "absolute path that the command starts in"),
        key("scratch", Scratch, "writable directories"),
    ],
    &[&ARCHIVE, &COPY, &PROVISION, &SECRET, &TEST],
);

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
        key("max_surge", Whole, "servers of a rolling rollout beyond those that are wanted"),
        key("drain_timeout", Duration, "how long requests in flight on the old set may take"),
        key("keep_warm", Duration, "how long the old set stays for a warm rollback"),
        key("watch", Duration, "how long the new set is watched before it counts as proven"),
    ],
    &[],
);

const RESOURCES: BlockWords = part(
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

const SCALE: BlockWords = part(
    "scale",
    "between how many servers the load decides, instead of `instances`",
    &[
        key("minimum", Whole, "the fewest servers; 1 by default"),
        required("maximum", Whole, "the most servers"),
        key("in_flight", Whole, "requests in flight that one server shall have"),
        key("requests_per_second", Whole, "requests a second that one server shall get"),
        key(
            "cpu",
            Text,
            "the part of its processor limit that one server shall use, such as `70%`",
        ),
        key("stabilise", Duration, "how long fewer have to be enough; `60s` by default"),
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

const CONFIG: BlockWords = block(
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

const SERVICE_SECRET: BlockWords = block(
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

const SERVICE: BlockWords = block(
    "service",
    "NAME",
    "servers made from an image",
    &[
        required("image", Reference, "the image they are made from"),
        key("kind", Word(&["stateless", "stateful"]), "whether it holds data"),
        key("instances", Whole, "how many serve; 1 by default"),
        key("env", Map, "environment of the command, over the image's own"),
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
        &MOUNT,
        &CONFIG,
        &SERVICE_SECRET,
    ],
);

const JOB: BlockWords = block(
    "job",
    "NAME",
    "work that comes round on a schedule and is no server",
    &[
        required("image", Reference, "the image that its server is made from"),
        key("command", Texts, "the program and its arguments; the image's own by default"),
        key(
            "schedule",
            Text,
            "line of cron: minute, hour, day of the month, month, day of the week",
        ),
        key("timezone", Text, "time zone of `schedule`, such as `Europe/Berlin`; `UTC` by default"),
        key("deadline", Duration, "how long one try may take; `1h` by default"),
        key("retries", Whole, "how often it is tried again after it failed; 0 by default"),
        key("env", Map, "environment of the command, over the image's own"),
        key("egress", Flag, "whether it may open connections to outside"),
        key("stop_signal", Word(STOP_SIGNALS), "signal that asks it to end"),
        key("stop_grace", Duration, "how long it may take to end; `5s` by default"),
    ],
    &[&RESOURCES, &CONFIG, &SERVICE_SECRET],
);

const SCHEDULE: BlockWords = block(
    "schedule",
    "NAME",
    "what is done by itself when a time comes round",
    &[
        required(
            "do",
            Word(&["patch", "recycle", "redeploy", "rehearse_rollback"]),
            "what is done",
        ),
        required(
            "when",
            Text,
            "line of cron: minute, hour, day of the month, month, day of the week",
        ),
        key("timezone", Text, "time zone of `when`, such as `Europe/Berlin`; `UTC` by default"),
        key("services", References, "what it is done to; all services of the directory by default"),
        key(
            "missed",
            Word(&["skip", "catch_up"]),
            "what becomes of times that were missed; `skip` by default",
        ),
    ],
    &[],
);

const FREEZE: BlockWords = block(
    "freeze",
    "NAME",
    "a time in which `up` refuses without a word",
    &[
        required("from", Text, "when it begins, such as `2026-12-20T00:00`"),
        required("until", Text, "when it ends"),
        key("timezone", Text, "time zone of both; `UTC` by default"),
        key("home", Flag, "whether it holds for every directory of the home"),
    ],
    &[],
);

const VOLUME: BlockWords = block(
    "volume",
    "NAME",
    "data with one writer",
    &[
        required("size", Size, "its size"),
        key("prevent_destroy", Flag, "whether `hornero volume rm` refuses it; `true` by default"),
    ],
    &[],
);

const TRUST: BlockWords = block(
    "trust",
    "NAME",
    "a key whose statements about images count",
    &[required("public_key", Text, "`ed25519:` and the base64 of its 32 bytes")],
    &[],
);

const VARIABLE: BlockWords = block(
    "variable",
    "NAME",
    "a value given from outside, used as `var.NAME`",
    &[
        key("type", Any, "`string`, `number`, `bool`, `list(…)`, `map(…)` or `any`"),
        key("default", Any, "its value where none is given"),
        key("description", Text, "for people"),
    ],
    &[],
);

/// Every kind of block that stands at the top of the file.
pub const TOP: [&BlockWords; 8] =
    [&IMAGE, &SERVICE, &JOB, &SCHEDULE, &FREEZE, &VOLUME, &VARIABLE, &TRUST];

/// The names of all functions of expressions, sorted.
pub fn functions() -> impl Iterator<Item = &'static str> {
    crate::library::FUNCTIONS.iter().map(|function| function.name)
}

#[cfg(test)]
mod tests;
