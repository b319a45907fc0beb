//! Checks, as health contracts and tests have them.

use super::words::{
    BlockWords,
    ValueKind::{Any, Text, Whole},
    key, part,
};

pub(super) const HTTP_CHECK: BlockWords = part(
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

pub(super) const TCP_CHECK: BlockWords = part(
    "tcp",
    "a port that must accept a connection",
    &[key("port", Any, "the port: a number, or a name of the service's")],
    &[],
);
