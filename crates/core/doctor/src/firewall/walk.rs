//! Walks a filter with a packet, as the kernel does.

use std::collections::BTreeMap;

use super::{
    FilterChain, FilterComparison, FilterHook, FilterRule, FilterSet, FilterStep, FilterVerdict,
    Packet, PacketFilter,
};

/// The kernel's own limit on nested jumps (`NFT_JUMP_STACK_SIZE`).
const JUMPS_MAX: usize = 16;
/// No ruleset that somebody wrote takes so many rules a packet; one that loops through gotos ends here.
const RULES_MAX: u32 = 200_000;

/// What a filter does to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It passes.
    Passes,
    /// It may pass: a rule that is not understood may decide.
    Unclear,
    /// A rule or the end of a chain drops it.
    Dropped {
        /// The base chain, as `ip filter` and `FORWARD`.
        table: String,
        /// The base chain's name.
        chain: String,
        /// The chain whose rule does it; the base chain's own name where it is the end of that.
        within: String,
        /// Whether it is the policy, and no rule.
        by_policy: bool,
    },
}

/// What the base chains at `hook` do to a packet; `own` tells chains that are Hornero's, which are left out.
pub fn fate(
    filter: &PacketFilter,
    hook: FilterHook,
    packet: &Packet,
    own: impl Fn(&FilterChain) -> bool,
) -> Fate {
    let at_hook =
        |chain: &&FilterChain| chain.hook.is_some_and(|(at, _)| at == hook) && !own(chain);
    let mut chains: Vec<&FilterChain> = filter.chains.iter().filter(at_hook).collect();
    chains.sort_by_key(|chain| chain.hook.map(|(_, priority)| priority));
    let mut unclear = false;
    for chain in chains {
        match Walk::new(filter, chain, packet).through() {
            Fate::Passes => {}
            Fate::Unclear => unclear = true,
            dropped @ Fate::Dropped { .. } => return dropped,
        }
    }
    if unclear { Fate::Unclear } else { Fate::Passes }
}

/// Whether a condition matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    Maybe,
}

impl Match {
    const fn of(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }
}

/// How a chain was left.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Left {
    /// At its end, or by a return.
    Through,
    Accepted,
    /// Dropped by a rule of this chain.
    Dropped(String),
}

struct Walk<'a> {
    base: &'a FilterChain,
    packet: &'a Packet,
    chains: BTreeMap<&'a str, &'a FilterChain>,
    /// Whether a rule that may match would have decided.
    may_accept: bool,
    may_drop: bool,
    rules_left: u32,
}

impl<'a> Walk<'a> {
    fn new(filter: &'a PacketFilter, base: &'a FilterChain, packet: &'a Packet) -> Self {
        let of_table = filter.chains.iter().filter(|chain| chain.table == base.table);
        let chains = of_table.map(|chain| (chain.name.as_str(), chain)).collect();
        Self { base, packet, chains, may_accept: false, may_drop: false, rules_left: RULES_MAX }
    }

    fn through(mut self) -> Fate {
        let left = self.chain(self.base, 0);
        let dropped = |within: String, by_policy| Fate::Dropped {
            table: self.base.table.clone(),
            chain: self.base.name.clone(),
            within,
            by_policy,
        };
        let drops = match left {
            Left::Accepted => None,
            Left::Dropped(within) => Some(dropped(within, false)),
            Left::Through if self.base.drops => Some(dropped(self.base.name.clone(), true)),
            Left::Through => None,
        };
        match drops {
            Some(_) if self.may_accept => Fate::Unclear,
            Some(drops) => drops,
            None if self.may_drop => Fate::Unclear,
            None => Fate::Passes,
        }
    }

    fn chain(&mut self, chain: &'a FilterChain, depth: usize) -> Left {
        for rule in &chain.rules {
            if self.rules_left == 0 {
                self.may_accept = true;
                self.may_drop = true;
                return Left::Through;
            }
            self.rules_left -= 1;
            let (matches, verdict) = self.rule(rule);
            if matches == Match::No {
                continue;
            }
            let (left, leaves) = match verdict {
                FilterVerdict::Continue => continue,
                FilterVerdict::Accept => (Left::Accepted, true),
                FilterVerdict::Drop => (Left::Dropped(chain.name.clone()), true),
                FilterVerdict::Return => (Left::Through, true),
                FilterVerdict::Jump(to) => (self.into(&to, depth), false),
                FilterVerdict::Goto(to) => (self.into(&to, depth), true),
            };
            match (matches, &left) {
                (Match::Yes, Left::Through) if !leaves => {}
                (Match::Yes, _) => return left,
                (_, Left::Accepted) => self.may_accept = true,
                (_, Left::Dropped(_)) => self.may_drop = true,
                // Leaving here or not: what follows may or may not be met.
                (_, Left::Through) if leaves => {
                    self.may_accept |= !self.base.drops;
                    self.may_drop |= self.base.drops;
                }
                (_, Left::Through) => {}
            }
        }
        Left::Through
    }

    fn into(&mut self, name: &str, depth: usize) -> Left {
        match self.chains.get(name) {
            Some(chain) if depth < JUMPS_MAX => self.chain(chain, depth + 1),
            Some(_) | None => Left::Through,
        }
    }

    /// Whether a rule matches, and what it concludes then.
    fn rule(&self, rule: &FilterRule) -> (Match, FilterVerdict) {
        let mut registers: BTreeMap<u32, Option<Vec<u8>>> = BTreeMap::new();
        let mut whole = Match::Yes;
        for step in &rule.steps {
            let matches = match step {
                FilterStep::Load { register, field } => {
                    registers.insert(*register, self.packet.field(*field));
                    continue;
                }
                FilterStep::Mask { source, target, mask, turned } => {
                    let value = registers.get(source).cloned().flatten();
                    registers.insert(*target, value.map(|value| masked(&value, mask, turned)));
                    continue;
                }
                FilterStep::Conclude(verdict) => return (whole, verdict.clone()),
                FilterStep::Lookup { register, negated, set } => {
                    let value = registers.get(register).and_then(Option::as_deref);
                    let found = set.as_ref().zip(value).map(|(set, value)| find(set, value));
                    match found {
                        None => Match::Maybe,
                        Some(Some(Some(verdict))) if !negated => return (whole, verdict),
                        Some(found) => Match::of(found.is_some() != *negated),
                    }
                }
                FilterStep::Compare { register, comparison, value } => {
                    let held = registers.get(register).and_then(Option::as_deref);
                    held.map_or(Match::Maybe, |held| compared(held, *comparison, value))
                }
                FilterStep::Range { register, negated, from, to } => {
                    let held = registers.get(register).and_then(Option::as_deref);
                    held.map_or(Match::Maybe, |held| {
                        Match::of((held >= &from[..] && held <= &to[..]) != *negated)
                    })
                }
                FilterStep::States { mask, negated } => {
                    Match::of((self.packet.state() & mask != 0) != *negated)
                }
                FilterStep::Ports { source, destination } => {
                    let inside = |port: u16, (first, last, negated): (u16, u16, bool)| {
                        (first..=last).contains(&port) != negated
                    };
                    Match::of(
                        inside(Packet::SOURCE_PORT, *source)
                            && inside(self.packet.port, *destination),
                    )
                }
                FilterStep::DestinationKind { mask, negated } => {
                    Match::of((self.packet.destination_kind() & mask != 0) != *negated)
                }
                FilterStep::Unclear => Match::Maybe,
            };
            match matches {
                Match::Yes => {}
                Match::No => return (Match::No, FilterVerdict::Continue),
                Match::Maybe => whole = Match::Maybe,
            }
        }
        (whole, FilterVerdict::Continue)
    }
}

fn masked(value: &[u8], mask: &[u8], turned: &[u8]) -> Vec<u8> {
    let bytes = value.iter().zip(mask);
    let turned = turned.iter().copied().chain(std::iter::repeat(0));
    bytes.zip(turned).map(|((byte, mask), turned)| byte & mask ^ turned).collect()
}

/// Compares the beginning of a register: `eth*` is the comparison with the first three bytes.
fn compared(held: &[u8], comparison: FilterComparison, value: &[u8]) -> Match {
    let Some(held) = held.get(..value.len()) else { return Match::Maybe };
    Match::of(match comparison {
        FilterComparison::Equal => held == value,
        FilterComparison::NotEqual => held != value,
        FilterComparison::Less => held < value,
        FilterComparison::LessOrEqual => held <= value,
        FilterComparison::Greater => held > value,
        FilterComparison::GreaterOrEqual => held >= value,
    })
}

/// What a set has for a value: nothing, or an element with what it concludes.
fn find(set: &FilterSet, value: &[u8]) -> Option<Option<FilterVerdict>> {
    let ranges = set.elements.iter().any(|element| element.ends_range);
    if !ranges {
        let element = set.elements.iter().find(|element| element.key == value)?;
        return Some(element.verdict.clone());
    }
    let below = set.elements.iter().filter(|element| element.key.as_slice() <= value);
    let nearest = below.max_by(|one, other| {
        // Where one range ends as the next begins, the beginning counts.
        one.key.cmp(&other.key).then(other.ends_range.cmp(&one.ends_range))
    })?;
    (!nearest.ends_range).then(|| nearest.verdict.clone())
}
