//! The protocol by its number, its headers and its limits.

/// The protocol of this API. Grows when a message changes its meaning; within one number new endpoints and new optional
/// fields may come. Fields of an answer that are not known are ignored. Those of a request are refused: what was asked
/// for is done in full or not at all.
pub const PROTOCOL: u32 = 1;
/// The header in which both sides say their version.
pub const VERSION_HEADER: &str = "hornero-version";
/// The header in which both sides say the protocol that they speak; the first versions, which speak 1, don't say it.
pub const PROTOCOL_HEADER: &str = "hornero-protocol";

/// Largest request body the server reads: an `apply` of 1,000 services stays well below.
pub const REQUEST_MAX_BYTES: usize = 8 << 20;
/// Largest answer the client reads whole; streams are bounded a line.
pub const ANSWER_MAX_BYTES: usize = 64 << 20;
/// Largest line of a streamed answer: a line of a log has 1 MiB at most, and is told as text and as message, where a byte
/// may be escaped as six.
pub const LINE_MAX_BYTES: usize = 24 << 20;
