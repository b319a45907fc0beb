//! Small signed Debian archives, made for tests and served on loopback.
//!
//! An [`Archive`] is a directory with a suite [`SUITE`] and, once something is put there, its security pocket. Its
//! packages are made of a few lines each ([`Package`]), or of programs of this machine ([`shell`], [`dpkg`],
//! [`program`]). Every [`Archive::publish`] signs a new state, a day younger than the last; [`Archive::snapshot`] is a
//! mirror of an earlier one. The directory is a mirror itself (`mirror = "/path"`), and a [`Server`] serves it over
//! HTTP and can be told to misbehave.
//!
//! ```no_run
//! use hornero_archive::{Archive, Package};
//!
//! let mut archive = Archive::temporary();
//! archive.put(Package::new("server", "1.0").depends("library (>= 1)").file("usr/bin/server", 0o755, "#!/bin/sh\n"));
//! archive.put(Package::new("library", "1.0"));
//! let first = archive.publish();
//! archive.put_security(Package::new("library", "1.0+security1"));
//! archive.publish();
//! let before = archive.snapshot(first); // a mirror without the security update
//! let server = archive.serve(); // `server.url()` is a mirror with it
//! ```
//!
//! Everything here panics when it fails: it is for tests.

mod archive;
mod host;
mod package;
mod relay;
mod server;
mod signing;

pub use archive::{Archive, SUITE, architecture};
pub use host::{dpkg, program, shell};
pub use package::{Package, gzip, xz};
pub use relay::Relay;
pub use server::{Manner, Server};
pub use signing::Signer;
