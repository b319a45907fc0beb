//! A packet filter as it was read: chains, rules and sets.

use super::packet::PacketField;

/// Every chain that is there, of all tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PacketFilter {
    /// The chains, in the order the kernel lists them.
    pub chains: Vec<FilterChain>,
}

/// Where a base chain sees packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterHook {
    /// Those for this host.
    Input,
    /// Those that pass through it.
    Forward,
}

/// A chain and its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterChain {
    /// Its table with the family, such as `ip filter`; jumps stay in it.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where it sees packets, and its priority; `None` for one that is jumped to, or that sees other packets.
    pub hook: Option<(FilterHook, i32)>,
    /// Whether what reaches its end is dropped.
    pub drops: bool,
    /// Its rules.
    pub rules: Vec<FilterRule>,
}

/// A rule: steps that are done in order until one does not match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterRule {
    /// The steps.
    pub steps: Vec<FilterStep>,
}

/// One step of a rule, as nf_tables has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterStep {
    /// Puts a part of the packet into a register.
    Load {
        /// The register.
        register: u32,
        /// The part.
        field: PacketField,
    },
    /// Takes some bits of a register.
    Mask {
        /// From this register.
        source: u32,
        /// Into this one.
        target: u32,
        /// The bits that stay.
        mask: Vec<u8>,
        /// The bits that are turned then.
        turned: Vec<u8>,
    },
    /// Matches where a register compares so.
    Compare {
        /// The register.
        register: u32,
        /// How.
        comparison: FilterComparison,
        /// With what; shorter than the register where only its beginning counts.
        value: Vec<u8>,
    },
    /// Matches where a register is in a range, or not.
    Range {
        /// The register.
        register: u32,
        /// Whether it has to be outside.
        negated: bool,
        /// The first value of the range.
        from: Vec<u8>,
        /// The last one.
        to: Vec<u8>,
    },
    /// Matches where a register is in a set, or not; concludes as the set's element says.
    Lookup {
        /// The register.
        register: u32,
        /// Whether it must not be in the set.
        negated: bool,
        /// The set; `None` where it was not read.
        set: Option<FilterSet>,
    },
    /// Matches packets whose connection is in one of these states.
    States {
        /// The states as bits.
        mask: u32,
        /// Whether it must be in none of them.
        negated: bool,
    },
    /// Matches ports in these ranges.
    Ports {
        /// The ports that it may come from, and whether they are those that it may not.
        source: (u16, u16, bool),
        /// The ports that it may go to, likewise.
        destination: (u16, u16, bool),
    },
    /// Matches packets to an address of one of these kinds.
    DestinationKind {
        /// The kinds as bits, by the numbers of rtnetlink's route types.
        mask: u16,
        /// Whether it must be of none of them.
        negated: bool,
    },
    /// Ends the rule.
    Conclude(FilterVerdict),
    /// A condition that is not understood: it may match.
    Unclear,
}

/// How a register compares with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum FilterComparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A set's elements, in order of their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterSet {
    /// The elements.
    pub elements: Vec<FilterElement>,
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterElement {
    /// Its key; of a set of ranges the first of the range.
    pub key: Vec<u8>,
    /// Whether this is where a range has ended.
    pub ends_range: bool,
    /// What a map concludes for it.
    pub verdict: Option<FilterVerdict>,
}

/// What a rule concludes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterVerdict {
    /// The packet goes on to the next base chain.
    Accept,
    /// It is gone, with an answer or without.
    Drop,
    /// On to the next rule.
    Continue,
    /// Back to the chain that jumped here.
    Return,
    /// Into another chain, and back.
    Jump(String),
    /// Into another chain.
    Goto(String),
}
