//! What is said of blocks and keys.

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
    /// A list of commands, each a list of text.
    Commands,
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

/// A key that may be left out.
pub(super) const fn key(name: &'static str, value: ValueKind, meaning: &'static str) -> KeyWords {
    KeyWords { name, value, required: false, meaning }
}

/// A key that must be there.
pub(super) const fn required(
    name: &'static str,
    value: ValueKind,
    meaning: &'static str,
) -> KeyWords {
    KeyWords { name, value, required: true, meaning }
}

/// A block of which there is one at most, which may be written as an object, too.
pub(super) const fn part(
    name: &'static str,
    meaning: &'static str,
    keys: &'static [KeyWords],
    blocks: &'static [&'static BlockWords],
) -> BlockWords {
    BlockWords { name, label: None, meaning, keys, blocks, part: true }
}

/// A block with a label.
pub(super) const fn block(
    name: &'static str,
    label: &'static str,
    meaning: &'static str,
    keys: &'static [KeyWords],
    blocks: &'static [&'static BlockWords],
) -> BlockWords {
    BlockWords { name, label: Some(label), meaning, keys, blocks, part: false }
}
