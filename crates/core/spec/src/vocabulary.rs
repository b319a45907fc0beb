//! Every block and key of `hornero.hcl` as data, for schemas, grammars and whoever helps to write the file.
//!
//! A test asks the reader of each block which names it takes, so none is missing here and none is made up.

mod check;
mod guard;
mod image;
mod service;
mod words;

pub use words::{BlockWords, KeyWords, ValueKind};

use self::{
    guard::GUARD,
    image::IMAGE,
    service::{CONFIG, RESOURCES, SERVICE, SERVICE_SECRET, STOP_SIGNALS},
    words::{
        ValueKind::{
            Any, Duration, Flag, Map, Reference, References, Size, Text, Texts, Whole, Word,
        },
        block, key, required,
    },
};

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
    &[&GUARD],
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
