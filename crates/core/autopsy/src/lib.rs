//! What is kept of a server that failed, and what it says: the likely cause in one line, and what tells it from others.
//!
//! Nothing here reads a file: a bundle is handed in as what it holds ([`BundleContents`]), and [`autopsy`] answers.

mod bundle;
mod cause;
mod clean;
mod compare;
mod finding;
mod health;
mod lines;
mod redact;
mod signal;

pub use bundle::{BundleContents, BundleLine, BundleManifest, KeptPart, SCHEMA, SeenHealth};
pub use cause::autopsy;
pub use clean::{redact, withhold};
pub use compare::{ComparedServers, OtherServer, ServerRelation, differences, only_here};
pub use finding::{AutopsyFinding, LikelyCause};
pub use redact::{Redactor, SecretInBundle};
