//! Values that servers get and nobody else: encrypted in a home, each version for itself, in the `age` format.
//!
//! A value is in memory only while it is set and while a server starts; what leaves this crate overwrites itself.

mod age;
mod bech32;
mod error;
mod key;
mod limits;
mod vault;

pub use error::SecretError;
pub use key::{KEY_FILE, KEY_VARIABLE};
pub use limits::VALUE_BYTES_MAX;
pub use vault::{KeptSecret, KeptVersion, Sealed, Vault};
