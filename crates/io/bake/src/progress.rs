//! What a bake tells while it works; rendering is the caller's.

pub use hornero_apt::progress::ArchiveEvent;
use hornero_model::ImageName;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BakeEvent {
    /// An archive was read, or something of it fetched.
    Archive(ArchiveEvent),
    /// Packages were resolved.
    Resolved {
        /// The image.
        image: ImageName,
        /// How many packages it has of its own.
        packages: usize,
    },
    /// Unpacking begins.
    UnpackStarted {
        /// How many packages are not in the store yet.
        packages: usize,
    },
    /// A package is in the store.
    Unpacked {
        /// Its name.
        package: String,
    },
    /// A step of an image begins to run.
    StepStarted {
        /// The image.
        image: ImageName,
        /// The step, for people.
        step: String,
    },
    /// A line that a step wrote.
    Output {
        /// The image.
        image: ImageName,
        /// The line, shortened where very long.
        line: String,
    },
    /// What a step runs has ended; what it wrote is yet to be kept.
    Ran {
        /// The image.
        image: ImageName,
        /// What ran, for people: `configuring packages` for maintainer scripts.
        what: String,
        /// How long it ran.
        milliseconds: u64,
    },
    /// A step made a file with a secret in it: whoever has the image has it. Where a script made it up, no other bake has
    /// the same.
    SecretInImage {
        /// The image.
        image: ImageName,
        /// Where it is, absolute.
        path: String,
    },
    /// A step is done or was found in the cache.
    StepFinished {
        /// The image.
        image: ImageName,
        /// The step, for people.
        step: String,
        /// Whether its result came from the cache.
        cached: bool,
        /// Why it ran, where it did.
        why: String,
        /// How long it took.
        milliseconds: u64,
    },
}

/// Takes events from any thread; must return at once.
pub trait BakeProgress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: BakeEvent);
}

/// Drops every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl BakeProgress for Silent {
    fn event(&self, _: BakeEvent) {}
}
