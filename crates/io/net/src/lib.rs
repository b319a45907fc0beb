//! The host network of a home: bridge, addresses, packet filter and name server.
//!
//! One home is one bridge, one IPv4 subnet and one set of nf_tables rules; several homes live side
//! by side on a host and do not see each other. Everything is done over netlink, so no program of
//! the host (`ip`, `nft`, `iptables`) is needed. `docs/decisions/0003-home-network.md` says why.
//!
//! Start reading at [`HomeNetwork`].

mod addresses;
mod attach;
pub mod dns;
mod error;
mod expression;
mod filter;
mod forwarding;
mod home;
mod identity;
mod leftover;
mod lock;
mod netlink;
mod nftables;
mod rtnetlink;
mod ruleset;
mod ruleset_steps;
mod state;
mod subnet;
mod survey;

pub use attach::Attachment;
pub use error::{Error, Result};
pub use home::HomeNetwork;
pub use leftover::left_behind;
pub use ruleset::packet_filter;
pub use subnet::{Subnet, SubnetError};
pub use survey::{NetworkSurvey, survey};
