//! Proves that layers made on one base still hold on another, from recorded facts alone.
//!
//! [`LayerFacts`] are recorded when a layer is made. [`Pair`] compares two versions of a base once; [`Pair::prove`]
//! then says for each image what of it would not hold, and what becomes of dpkg's status, without any content.

mod accounts;
mod command;
pub mod debian;
pub mod elf;
mod entry;
mod facts;
mod layer;
mod loader;
mod packages;
mod pair;
mod paths;
mod programs;
mod refusal;
pub mod stanzas;
mod view;

pub use entry::{Entry, Kind};
pub use facts::{
    FACTS_BYTES_MAX, FACTS_KIND, LayerFacts, SCRIPT_LINE_LEN, Script, User, read_groups,
    read_users, without_days,
};
pub use layer::Layer;
pub use pair::{App, Base, NewStatus, OwnLayer, Pair, PairOutcome, StaleFacts};
pub use refusal::{RebaseRefusal, RefusalKind};

#[cfg(test)]
mod tests;
