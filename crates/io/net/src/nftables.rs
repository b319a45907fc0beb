//! nf_tables messages: tables, chains, sets and rules as the kernel wants them.
//!
//! Source: the kernel's `include/uapi/linux/netfilter/nf_tables.h` and `nfnetlink.h`. Numbers are
//! in network byte order; a batch between its two markers is applied whole or not at all.

use std::borrow::Cow;

use crate::{
    Error, Result,
    expression::{Expression, NFTA_DATA_VALUE, NFTA_LIST_ELEM},
    netlink::{Batch, Body, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, Socket, attributes},
};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_DELRULE: u16 = 8;
const NFT_MSG_NEWSET: u16 = 9;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_DELSETELEM: u16 = 14;

/// One attribute holds at most 64 KiB, and an element takes 36 bytes.
const ELEMENTS_PER_MESSAGE: usize = 1000;

/// The address family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Family {
    Ip = 2,
    Bridge = 7,
}

/// Where a chain sees packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// The number of the hook, such as [`PREROUTING`].
    pub number: u32,
    /// Lower comes earlier.
    pub priority: i32,
}

pub(crate) const PREROUTING: u32 = 0;
pub(crate) const INPUT: u32 = 1;
pub(crate) const FORWARD: u32 = 2;
pub(crate) const OUTPUT: u32 = 3;
pub(crate) const POSTROUTING: u32 = 4;

/// What a set's elements are; `nft list ruleset` shows them accordingly.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key {
    /// An IPv4 address.
    Address,
    /// The name of a link followed by an IPv4 address.
    LinkAndAddress,
}

/// The number of libnftables' type for a concatenation's part takes this many bits.
const KEY_TYPE_BITS: u32 = 6;
const KEY_TYPE_ADDRESS: u32 = 7;
const KEY_TYPE_LINK_NAME: u32 = 41;
/// `IFNAMSIZ`.
pub(crate) const LINK_NAME_BYTES: usize = 16;

impl Key {
    fn kind(self) -> u32 {
        match self {
            Self::Address => KEY_TYPE_ADDRESS,
            Self::LinkAndAddress => KEY_TYPE_LINK_NAME << KEY_TYPE_BITS | KEY_TYPE_ADDRESS,
        }
    }

    fn length(self) -> u32 {
        match self {
            Self::Address => 4,
            Self::LinkAndAddress => LINK_NAME_BYTES as u32 + 4,
        }
    }
}

/// A link's name as the kernel compares it: filled up with zero bytes.
pub(crate) fn link_name(name: &str) -> [u8; LINK_NAME_BYTES] {
    assert!(name.len() < LINK_NAME_BYTES, "`{name}` is too long for a link");
    let mut bytes = [0; LINK_NAME_BYTES];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// One transaction on one home's tables, which all have the same name.
pub(crate) struct Transaction<'a> {
    batch: Batch,
    table: &'a str,
    sets: u32,
}

impl<'a> Transaction<'a> {
    pub fn new(table: &'a str) -> Self {
        let mut batch = Batch::new();
        marker(&mut batch, NFNL_MSG_BATCH_BEGIN);
        Self { batch, table, sets: 0 }
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: Family,
        action: impl Into<Cow<'static, str>>,
        content: impl FnOnce(&mut Body<'_>, &str),
    ) {
        let table = self.table;
        self.batch.request(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, action, |body| {
            body.raw(&[family as u8, 0, 0, 0]);
            content(body, table);
        });
    }

    /// Makes the table; does nothing where it exists.
    pub fn table(&mut self, family: Family) {
        let action = match family {
            Family::Ip => "make the packet filter's `ip` table",
            Family::Bridge => "make the packet filter's `bridge` table",
        };
        self.message(NFT_MSG_NEWTABLE, NLM_F_CREATE, family, action, |body, table| {
            body.text(1, table);
        });
    }

    /// Removes the table, which must exist.
    pub fn delete_table(&mut self, family: Family) {
        let action = "remove a table of the packet filter";
        self.message(NFT_MSG_DELTABLE, 0, family, action, |body, table| body.text(1, table));
    }

    /// Removes all rules of the table; its chains and sets stay.
    pub fn delete_rules(&mut self, family: Family) {
        let action = "remove the rules of the packet filter";
        self.message(NFT_MSG_DELRULE, 0, family, action, |body, table| body.text(1, table));
    }

    /// Makes a chain, on a hook or for jumping to; does nothing where it exists.
    pub fn chain(&mut self, family: Family, name: &'static str, hook: Option<Hook>) {
        let action = format!("make chain `{name}` of the packet filter");
        self.message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, family, action, |body, table| {
            body.text(1, table);
            body.text(3, name);
            if let Some(hook) = hook {
                body.nested(4, |body| {
                    body.number_be(1, hook.number);
                    body.number_be(2, hook.priority as u32);
                });
                body.text(7, hook.kind);
            }
        });
    }

    /// Makes a set; does nothing where it exists.
    pub fn set(&mut self, family: Family, name: &'static str, key: Key) {
        self.sets += 1;
        let id = self.sets;
        let action = format!("make set `{name}` of the packet filter");
        self.message(NFT_MSG_NEWSET, NLM_F_CREATE, family, action, |body, table| {
            body.text(1, table);
            body.text(2, name);
            body.number_be(3, 0);
            body.number_be(4, key.kind());
            body.number_be(5, key.length());
            body.number_be(10, id);
        });
    }

    /// Adds elements to a set; does nothing for those it has.
    pub fn add_elements(&mut self, family: Family, set: &'static str, elements: &[Vec<u8>]) {
        self.elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, family, set, elements);
    }

    /// Makes sure that a set does not have the elements.
    pub fn remove_elements(&mut self, family: Family, set: &'static str, elements: &[Vec<u8>]) {
        // Removing what is not there would fail the transaction; the request that would not is
        // younger than many kernels (6.3).
        self.add_elements(family, set, elements);
        self.elements(NFT_MSG_DELSETELEM, 0, family, set, elements);
    }

    fn elements(
        &mut self,
        kind: u16,
        flags: u16,
        family: Family,
        set: &'static str,
        elements: &[Vec<u8>],
    ) {
        for elements in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let action = "change an address set of the packet filter";
            self.message(kind, flags, family, action, |body, table| {
                body.text(1, table);
                body.text(2, set);
                body.nested(3, |body| {
                    for element in elements {
                        body.nested(NFTA_LIST_ELEM, |body| {
                            body.nested(1, |body| body.attribute(NFTA_DATA_VALUE, element));
                        });
                    }
                });
            });
        }
    }

    /// Adds a rule at a chain's end; `purpose` names it in errors and in `nft list ruleset`.
    pub fn rule(
        &mut self,
        family: Family,
        chain: &'static str,
        purpose: &'static str,
        expressions: &[Expression<'_>],
    ) {
        let action = format!("add the rule `{purpose}` to chain `{chain}` of the packet filter");
        let flags = NLM_F_CREATE | NLM_F_APPEND;
        self.message(NFT_MSG_NEWRULE, flags, family, action, |body, table| {
            body.text(1, table);
            body.text(2, chain);
            body.nested(4, |body| {
                expressions.iter().for_each(|expression| expression.encode(body));
            });
            body.attribute(7, &comment(purpose));
        });
    }

    /// Has the kernel check everything and apply nothing: a batch without an end is undone, as `nft --check` has it.
    pub fn check(self, socket: &Socket) -> Result<()> {
        socket.change(&self.batch).map_err(explain)
    }

    /// Applies everything, or nothing.
    pub fn commit(mut self, socket: &Socket) -> Result<()> {
        marker(&mut self.batch, NFNL_MSG_BATCH_END);
        socket.change(&self.batch).map_err(explain)
    }
}

/// The names of the tables of all families, each as often as there are families with it.
pub(crate) fn tables(socket: &Socket) -> Result<Vec<String>> {
    const EVERY_FAMILY: u8 = 0;
    let mut batch = Batch::new();
    let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
    batch.request(kind, NLM_F_DUMP, "list the packet filter's tables", |body| {
        body.raw(&[EVERY_FAMILY, 0, 0, 0]);
    });
    let answers = socket.exchange(&batch).map_err(explain)?;
    let listed =
        answers.iter().filter(|answer| answer.kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE);
    let names = listed.filter_map(|answer| {
        let (_, name) = attributes(answer.body.get(4..)?).find(|(kind, _)| *kind == 1)?;
        Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
    });
    Ok(names.collect())
}

/// The type of a message of nf_tables.
pub(crate) const fn kind(message: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | message
}

fn marker(batch: &mut Batch, kind: u16) {
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    batch.marker(kind, |body| body.raw(&[0, 0, high, low]));
}

/// A comment as nft(8) stores it: type 0, length, text, zero byte.
fn comment(text: &str) -> Vec<u8> {
    let mut bytes = vec![0, text.len() as u8 + 1];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Says which kernel option is missing, where that is why the kernel refused.
pub(crate) fn explain(error: Error) -> Error {
    let Error::Kernel { action, detail, source } = error else { return error };
    let option = match source.raw_os_error() {
        // What the kernel has no code for is unknown to it by name or by family.
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => missing_option(&action),
        // The subsystem itself is unknown.
        Some(libc::EINVAL)
            if action == "change the packet filter"
                || action == "list the packet filter's tables" =>
        {
            Some("CONFIG_NF_TABLES")
        }
        _ => None,
    };
    match option {
        Some(option) => Error::MissingKernelFeature { action, option, source },
        None => Error::Kernel { action, detail, source },
    }
}

/// The option without which the kernel does not know what `action` needs.
fn missing_option(action: &str) -> Option<&'static str> {
    let table = [
        ("`ip` table", "CONFIG_NF_TABLES and CONFIG_NF_TABLES_IPV4"),
        ("`bridge` table", "CONFIG_NF_TABLES_BRIDGE"),
        ("chain `postrouting`", "CONFIG_NFT_NAT and CONFIG_NFT_MASQ"),
        ("rule `established", "CONFIG_NFT_CT"),
        ("rule `untracked", "CONFIG_NFT_CT"),
        ("rule `other addresses of this host", "CONFIG_NFT_FIB_IPV4"),
        ("rule `wildcard listener", "CONFIG_NFT_SOCKET of Linux 5.10 or later"),
        ("rule `egress refused", "CONFIG_NFT_REJECT and CONFIG_NF_REJECT_IPV4"),
        ("make ", "CONFIG_NF_TABLES"),
        ("add the rule", "CONFIG_NF_TABLES"),
    ];
    table.iter().find(|(part, _)| action.contains(part)).map(|(_, option)| *option)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_kernel_option_is_named() {
        let check = |action: &str, number: i32, option: Option<&str>| {
            let source = std::io::Error::from_raw_os_error(number);
            let error = Error::Kernel { action: action.into(), detail: String::new(), source };
            match (explain(error), option) {
                (Error::MissingKernelFeature { option, .. }, Some(expected)) => {
                    assert!(option.contains(expected), "{option}");
                }
                (Error::Kernel { .. }, None) => {}
                (other, _) => panic!("{action}: {other}"),
            }
        };
        let rule = "add the rule `masquerade` to chain `postrouting` of the packet filter";
        check("change the packet filter", libc::EINVAL, Some("CONFIG_NF_TABLES"));
        check(
            "make the packet filter's `bridge` table",
            libc::EAFNOSUPPORT,
            Some("CONFIG_NF_TABLES_BRIDGE"),
        );
        check(rule, libc::ENOENT, Some("CONFIG_NFT_MASQ"));
        check(rule, libc::EINVAL, None);
        check("change an address set of the packet filter", libc::ENOENT, None);
    }
}
