//! The expressions of a rule as steps that a packet is walked through.

use hornero_doctor::firewall::{
    FilterComparison, FilterSet, FilterStep, FilterVerdict, PacketField,
};

use crate::netlink::attributes;

/// Statements that neither match nor conclude.
const WITHOUT_EFFECT: &[&str] = &[
    "counter",
    "log",
    "notrack",
    "masq",
    "nat",
    "redir",
    "tproxy",
    "dup",
    "fwd",
    "objref",
    "dynset",
    "flow_offload",
    "last",
    "immediate_data",
    "synproxy",
];
/// Expressions that put something into a register which no packet here tells.
const LOADS: &[&str] =
    &["fib", "rt", "socket", "osf", "hash", "numgen", "tunnel", "xfrm", "exthdr", "byteorder"];

/// What one expression of a rule does; `set` reads a set by its name.
pub(crate) fn steps(
    expression: &[u8],
    set: &mut dyn FnMut(&str) -> Option<FilterSet>,
) -> Vec<FilterStep> {
    let (mut name, mut data): (String, &[u8]) = (String::new(), &[]);
    for (kind, value) in attributes(expression) {
        match kind {
            1 => name = text(value),
            2 => data = value,
            _ => {}
        }
    }
    let fields = Fields(data);
    let step = match name.as_str() {
        "meta" => meta(&fields),
        "ct" => connection(&fields),
        "payload" => payload(&fields),
        "bitwise" => bitwise(&fields),
        "cmp" => compare(&fields),
        "range" => range(&fields),
        "lookup" => lookup(&fields, set),
        "immediate" => immediate(&fields),
        "reject" => Some(Some(FilterStep::Conclude(FilterVerdict::Drop))),
        "match" => Some(wrapped_match(&fields)),
        "target" => Some(wrapped_target(&fields)),
        name if WITHOUT_EFFECT.contains(&name) => Some(None),
        name if LOADS.contains(&name) => fields
            .register(1)
            .map(|register| Some(FilterStep::Load { register, field: PacketField::Other })),
        _ => None,
    };
    match step {
        Some(step) => step.into_iter().collect(),
        None => vec![FilterStep::Unclear],
    }
}

/// What a step is; nothing where the expression is not understood, and no step where it does nothing.
type Step = Option<Option<FilterStep>>;

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn get(&self, kind: u16) -> Option<&'a [u8]> {
        attributes(self.0).find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.get(..4)?.try_into().ok()?))
    }

    /// A register; the first four of 16 bytes are also the first of each four of 4 bytes.
    fn register(&self, kind: u16) -> Option<u32> {
        let number = self.number(kind)?;
        Some(if (1..=4).contains(&number) { 8 + (number - 1) * 4 } else { number })
    }

    /// The bytes of a value.
    fn value(&self, kind: u16) -> Option<Vec<u8>> {
        let (_, value) = attributes(self.get(kind)?).find(|(kind, _)| *kind == 1)?;
        Some(value.to_vec())
    }
}

pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn meta(fields: &Fields<'_>) -> Step {
    // Without a register to put it in, this sets something.
    let Some(register) = fields.register(1) else { return Some(None) };
    let field = match fields.number(2)? {
        4 => PacketField::InputIndex,
        5 => PacketField::OutputIndex,
        6 => PacketField::InputLink,
        7 => PacketField::OutputLink,
        15 => PacketField::Family,
        16 => PacketField::Protocol,
        _ => PacketField::Other,
    };
    Some(Some(FilterStep::Load { register, field }))
}

fn connection(fields: &Fields<'_>) -> Step {
    let Some(register) = fields.register(1) else { return Some(None) };
    let field = match fields.number(2)? {
        0 => PacketField::ConnectionState,
        2 => PacketField::ConnectionStatus,
        _ => PacketField::Other,
    };
    Some(Some(FilterStep::Load { register, field }))
}

fn payload(fields: &Fields<'_>) -> Step {
    let Some(register) = fields.register(1) else { return Some(None) };
    let (base, offset, length) = (fields.number(2)?, fields.number(3)?, fields.number(4)?);
    let field = match base {
        1 => PacketField::NetworkHeader { offset, length },
        2 => PacketField::TransportHeader { offset, length },
        _ => PacketField::Other,
    };
    Some(Some(FilterStep::Load { register, field }))
}

fn bitwise(fields: &Fields<'_>) -> Step {
    let (source, target) = (fields.register(1)?, fields.register(2)?);
    // Shifts have no mask.
    let Some(mask) = fields.value(4) else {
        return Some(Some(FilterStep::Load { register: target, field: PacketField::Other }));
    };
    let turned = fields.value(5).unwrap_or_default();
    Some(Some(FilterStep::Mask { source, target, mask, turned }))
}

fn compare(fields: &Fields<'_>) -> Step {
    let comparison = match fields.number(2)? {
        0 => FilterComparison::Equal,
        1 => FilterComparison::NotEqual,
        2 => FilterComparison::Less,
        3 => FilterComparison::LessOrEqual,
        4 => FilterComparison::Greater,
        5 => FilterComparison::GreaterOrEqual,
        _ => return None,
    };
    let (register, value) = (fields.register(1)?, fields.value(3)?);
    Some(Some(FilterStep::Compare { register, comparison, value }))
}

fn range(fields: &Fields<'_>) -> Step {
    Some(Some(FilterStep::Range {
        register: fields.register(1)?,
        negated: fields.number(2)? == 1,
        from: fields.value(3)?,
        to: fields.value(4)?,
    }))
}

fn lookup(fields: &Fields<'_>, set: &mut dyn FnMut(&str) -> Option<FilterSet>) -> Step {
    let set = set(&text(fields.get(1)?));
    let negated = fields.number(5).unwrap_or(0) & 1 != 0;
    // A map into a register other than the verdict's gives a value that is not read.
    if fields.number(3).is_some_and(|register| register != 0) {
        return None;
    }
    Some(Some(FilterStep::Lookup { register: fields.register(2)?, negated, set }))
}

fn immediate(fields: &Fields<'_>) -> Step {
    match fields.number(1)? {
        0 => Some(Some(FilterStep::Conclude(verdict(fields.get(2)?)?))),
        // A value for a statement, such as an address to translate to.
        _ => Some(None),
    }
}

/// The verdict in a data attribute.
pub(crate) fn verdict(data: &[u8]) -> Option<FilterVerdict> {
    let (_, inside) = attributes(data).find(|(kind, _)| *kind == 2)?;
    let fields = Fields(inside);
    let chain = || fields.get(2).map(text);
    Some(match fields.number(1)?.cast_signed() {
        0 => FilterVerdict::Drop,
        1 => FilterVerdict::Accept,
        -1 | -2 => FilterVerdict::Continue,
        -3 => FilterVerdict::Jump(chain()?),
        -4 => FilterVerdict::Goto(chain()?),
        -5 => FilterVerdict::Return,
        _ => return None,
    })
}

/// A match of iptables.
fn wrapped_match(fields: &Fields<'_>) -> Option<FilterStep> {
    let name = fields.get(1).map(text).unwrap_or_default();
    let info = fields.get(3).unwrap_or_default();
    match name.as_str() {
        "comment" => None,
        "conntrack" | "state" => Some(states(&name, info).unwrap_or(FilterStep::Unclear)),
        "tcp" => Some(ports(info, 11).unwrap_or(FilterStep::Unclear)),
        "udp" => Some(ports(info, 8).unwrap_or(FilterStep::Unclear)),
        "addrtype" => {
            let revision = fields.number(2).unwrap_or(0);
            Some(address_kind(info, revision).unwrap_or(FilterStep::Unclear))
        }
        _ => Some(FilterStep::Unclear),
    }
}

fn u16_at(info: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(info.get(offset..offset + 2)?.try_into().ok()?))
}

fn u32_at(info: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(info.get(offset..offset + 4)?.try_into().ok()?))
}

/// States by iptables' numbers, as nf_tables has them: invalid, established, related and new agree; untracked does not.
fn states(name: &str, info: &[u8]) -> Option<FilterStep> {
    const OF_STATE: u16 = 1;
    /// Says only how the rule was written.
    const ALIAS: u16 = 1 << 13;
    const AGREEING: u32 = 0b1111;
    const UNTRACKED: u32 = 1 << 6;
    /// `XT_CONNTRACK_STATE_UNTRACKED`; `xt_state` has the bit that nf_tables has.
    const XT_UNTRACKED: u32 = 1 << 8;
    let (mask, negated) = if name == "state" {
        (u32_at(info, 0)? & (AGREEING | UNTRACKED), false)
    } else {
        // `struct xt_conntrack_mtinfo3`: eight addresses, two times, five ports, flags, inverted flags, states.
        let (flags, inverted) = (u16_at(info, 146)?, u16_at(info, 148)?);
        if flags & !ALIAS != OF_STATE {
            return None;
        }
        let states = u32::from(u16_at(info, 150)?);
        let untracked = if states & XT_UNTRACKED == 0 { 0 } else { UNTRACKED };
        (states & AGREEING | untracked, inverted & OF_STATE != 0)
    };
    Some(FilterStep::States { mask, negated })
}

/// `struct xt_tcp` and `xt_udp`: ranges of ports, then what else is matched, then what is inverted.
fn ports(info: &[u8], inverted_at: usize) -> Option<FilterStep> {
    let [source, destination] = [0, 4].map(|at| Some((u16_at(info, at)?, u16_at(info, at + 2)?)));
    let (source, destination) = (source?, destination?);
    let inverted = *info.get(inverted_at)?;
    let flags_matter = inverted_at == 11 && (*info.get(8)? != 0 || *info.get(9)? != 0);
    if flags_matter {
        return None;
    }
    Some(FilterStep::Ports {
        source: (source.0, source.1, inverted & 1 != 0),
        destination: (destination.0, destination.1, inverted & 2 != 0),
    })
}

/// `struct xt_addrtype_info_v1`: kinds of the source, of the destination, flags.
fn address_kind(info: &[u8], revision: u32) -> Option<FilterStep> {
    let (source, mask) = (u16_at(info, 0)?, u16_at(info, 2)?);
    if source != 0 {
        return None;
    }
    let negated = match revision {
        0 => u32_at(info, 8)? != 0,
        _ => u32_at(info, 4)? & 2 != 0,
    };
    Some(FilterStep::DestinationKind { mask, negated })
}

/// A target of iptables.
fn wrapped_target(fields: &Fields<'_>) -> Option<FilterStep> {
    match fields.get(1).map(text).unwrap_or_default().as_str() {
        "REJECT" | "DROP" => Some(FilterStep::Conclude(FilterVerdict::Drop)),
        "ACCEPT" => Some(FilterStep::Conclude(FilterVerdict::Accept)),
        _ => None,
    }
}
