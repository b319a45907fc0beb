//! The first process of an exported disk or container whose image has a command: mounts what the image needs, brings
//! the network up, runs the command as the image's user, and ends the machine when the command has ended.
//!
//! A static program of its own, built by the crate's build script and carried inside Hornero; what it is to do is
//! appended to it (`config.rs`). A server is replaced, never repaired: the command is not started again.

mod config;
mod disk;
mod drivers;
mod lease;
mod network;
mod serve;
mod system;

use std::process::exit;

use config::{Config, Place};

fn main() {
    // A disk's first process finds nothing mounted, and its own file is at a known place.
    let own =
        if std::path::Path::new("/proc/self/exe").exists() { "/proc/self/exe" } else { "/init" };
    let config = match Config::of_program(own) {
        Ok(config) => config,
        Err(error) => {
            say(&format!("cannot read what to do from `{own}`: {error}"));
            exit(1);
        }
    };
    let result = match &config.place {
        Place::Disk { label, drivers } => {
            disk::enter_root(label, drivers).and_then(|()| serve::serve(&config))
        }
        Place::Container => serve::serve(&config),
    };
    let status = result.unwrap_or_else(|error| {
        say(&error);
        1
    });
    match config.place {
        Place::Disk { .. } => disk::power_off(),
        Place::Container => exit(status),
    }
}

/// A line on the console.
fn say(text: &str) {
    // The carriage return is for a serial console that nobody set up.
    eprint!("hornero: {text}\r\n");
}
