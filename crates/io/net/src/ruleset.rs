//! Reads the packet filter of this host, other programs' tables included, for what it does to a home's packets.
//!
//! Source: the kernel's `include/uapi/linux/netfilter/nf_tables.h` and `xt_conntrack.h`, `xt_tcpudp.h`, `xt_addrtype.h`
//! for what iptables' nf_tables variant wraps into expressions.

use std::collections::BTreeMap;

use hornero_doctor::firewall::{
    FilterChain, FilterElement, FilterHook, FilterRule, FilterSet, PacketFilter,
};

use crate::{
    Result,
    netlink::{Answer, Batch, NLM_F_DUMP, Socket, attributes},
    nftables::{self, FORWARD, INPUT},
    ruleset_steps::{steps, text, verdict},
};

const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_GETRULE: u16 = 7;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_GETSETELEM: u16 = 13;

/// The families whose chains see IPv4 packets.
const FAMILIES: [(u8, &str); 2] = [(1, "inet"), (2, "ip")];
/// Rulesets that people and firewalls write have some hundred sets; more are counted as not read.
const SETS_MAX: usize = 256;
/// A set that a rule of a firewall looks links or ports up in has a few elements; block lists have many more, and
/// whether an address is in one is not worth reading it.
const ELEMENTS_MAX: usize = 4_096;

/// The packet filter of this network namespace.
///
/// # Errors
/// Where the kernel has none, or the caller may not read it.
pub fn packet_filter() -> Result<PacketFilter> {
    let socket = Socket::netfilter()?;
    let mut filter = PacketFilter::default();
    for (family, name) in FAMILIES {
        let chains = dump(&socket, NFT_MSG_GETCHAIN, NFT_MSG_NEWCHAIN, family, |_| {})?;
        let mut found: Vec<FilterChain> =
            chains.iter().filter_map(|answer| chain(&answer.body, name)).collect();
        if found.is_empty() {
            continue;
        }
        let rules = dump(&socket, NFT_MSG_GETRULE, NFT_MSG_NEWRULE, family, |_| {})?;
        let mut sets = Sets { socket: &socket, family, known: BTreeMap::new() };
        for answer in &rules {
            let Some((table, chain, rule)) = rule(&answer.body, &mut sets) else { continue };
            let table = format!("{name} {table}");
            let of = found.iter_mut().find(|known| known.table == table && known.name == chain);
            if let Some(of) = of {
                of.rules.push(rule);
            }
        }
        filter.chains.append(&mut found);
    }
    Ok(filter)
}

fn dump(
    socket: &Socket,
    ask: u16,
    answer: u16,
    family: u8,
    narrow: impl FnOnce(&mut crate::netlink::Body<'_>),
) -> Result<Vec<Answer>> {
    let mut batch = Batch::new();
    batch.request(nftables::kind(ask), NLM_F_DUMP, "list the packet filter's tables", |body| {
        body.raw(&[family, 0, 0, 0]);
        narrow(body);
    });
    let answers = socket.exchange(&batch).map_err(nftables::explain)?;
    Ok(answers.into_iter().filter(|found| found.kind == nftables::kind(answer)).collect())
}

fn chain(body: &[u8], family: &str) -> Option<FilterChain> {
    let (mut table, mut name, mut hook, mut policy) = (None, None, None, 1);
    for (kind, value) in attributes(body.get(4..)?) {
        match kind {
            1 => table = Some(text(value)),
            3 => name = Some(text(value)),
            4 => hook = place(value),
            5 => policy = number(value)?,
            _ => {}
        }
    }
    let table = format!("{family} {}", table?);
    let drops = policy == 0 && hook.is_some();
    Some(FilterChain { table, name: name?, hook, drops, rules: Vec::new() })
}

fn place(value: &[u8]) -> Option<(FilterHook, i32)> {
    let (mut at, mut priority) = (None, 0);
    for (kind, value) in attributes(value) {
        match kind {
            1 => at = number(value),
            2 => priority = number(value)?.cast_signed(),
            _ => {}
        }
    }
    match at? {
        INPUT => Some((FilterHook::Input, priority)),
        FORWARD => Some((FilterHook::Forward, priority)),
        _ => None,
    }
}

/// A number in network byte order.
fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}

fn rule(body: &[u8], sets: &mut Sets<'_>) -> Option<(String, String, FilterRule)> {
    let (mut table, mut chain, mut rule) = (String::new(), String::new(), FilterRule::default());
    for (kind, value) in attributes(body.get(4..)?) {
        match kind {
            1 => table = text(value),
            2 => chain = text(value),
            4 => {
                for (_, expression) in attributes(value) {
                    rule.steps.extend(steps(expression, &mut |set| sets.get(&table, set)));
                }
            }
            _ => {}
        }
    }
    Some((table, chain, rule))
}

/// The sets that rules look something up in, each read once.
struct Sets<'a> {
    socket: &'a Socket,
    family: u8,
    known: BTreeMap<(String, String), Option<FilterSet>>,
}

impl Sets<'_> {
    fn get(&mut self, table: &str, set: &str) -> Option<FilterSet> {
        let key = (table.to_owned(), set.to_owned());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        if self.known.len() >= SETS_MAX {
            return None;
        }
        let read = self.read(table, set).ok().flatten();
        self.known.insert(key, read.clone());
        read
    }

    fn read(&self, table: &str, set: &str) -> Result<Option<FilterSet>> {
        let answers =
            dump(self.socket, NFT_MSG_GETSETELEM, NFT_MSG_NEWSETELEM, self.family, |body| {
                body.text(1, table);
                body.text(2, set);
            })?;
        let mut elements = Vec::new();
        for answer in &answers {
            let Some(body) = answer.body.get(4..) else { continue };
            let lists = attributes(body).filter(|(kind, _)| *kind == 3);
            for (_, value) in lists.flat_map(|(_, list)| attributes(list)) {
                match element(value) {
                    Some(element) if elements.len() < ELEMENTS_MAX => elements.push(element),
                    Some(_) | None => return Ok(None),
                }
            }
        }
        Ok(Some(FilterSet { elements }))
    }
}

fn element(value: &[u8]) -> Option<FilterElement> {
    let (mut key, mut ends_range, mut concludes) = (None, false, None);
    for (kind, value) in attributes(value) {
        match kind {
            1 => key = attributes(value).find(|(kind, _)| *kind == 1).map(|(_, key)| key.to_vec()),
            2 => concludes = verdict(value),
            3 => ends_range = number(value)? & 1 != 0,
            _ => {}
        }
    }
    // What has neither is what a set says of everything else: not understood.
    Some(FilterElement { key: key?, ends_range, verdict: concludes })
}
