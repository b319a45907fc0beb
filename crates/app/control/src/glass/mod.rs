//! Sessions in servers: recorded before anybody sees anything of them, and ended with whoever began them.

mod carry;
mod letters;
mod register;
mod shown;

pub use carry::Typed;
pub use register::{Glass, GlassWish, NotBegun, NotTyped, settle_glass};
pub use shown::{glass_offline, recording_offline, shown, touched};
