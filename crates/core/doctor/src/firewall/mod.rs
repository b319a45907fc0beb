//! The host's packet filter as data, and what it does to a packet of a home.
//!
//! A filter is read whole and walked for the packets that a home's servers send, as the kernel would. What is not
//! understood of a rule counts as "may match", so that nothing is said to be dropped that may not be.

mod filter;
mod packet;
mod walk;

pub use filter::{
    FilterChain, FilterComparison, FilterElement, FilterHook, FilterRule, FilterSet, FilterStep,
    FilterVerdict, PacketFilter,
};
pub use packet::{Packet, PacketField};
pub use walk::{Fate, fate};
