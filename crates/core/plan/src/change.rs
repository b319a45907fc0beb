//! One change of a plan, in the words that JSON has.

use std::fmt;

use hornero_model::Directory;
use serde::Serialize;

/// A service that belongs to another directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Foreign {
    /// The service.
    pub service: String,
    /// That it does, for people.
    pub reason: String,
    /// Which directory.
    pub directory: Directory,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What kind of object.
    pub kind: ObjectKind,
    /// Its name.
    pub object: String,
    /// What would be done.
    pub action: Action,
    /// Why, for people.
    pub reason: String,
    /// The name that the service seems to have had before, or to have now, where it seems to have been renamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed: Option<String>,
}

/// Kinds of objects that a plan changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// An image.
    Image,
    /// A service.
    Service,
    /// A job.
    Job,
    /// A freeze.
    Freeze,
    /// A schedule.
    Schedule,
    /// A schema step of a service.
    Step,
}

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An image is baked.
    Bake,
    /// A service gets instances where none served.
    Create,
    /// The instances of a service are replaced by those of another release.
    Replace,
    /// Instances that are missing are made again.
    Repair,
    /// Instances are added to those that run, or taken away.
    Scale,
    /// The instances that run serve on by other terms, such as routes.
    Adjust,
    /// A service is taken down.
    Remove,
    /// A schema step is run.
    Run,
}

impl ObjectKind {
    /// The word as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Service => "service",
            Self::Job => "job",
            Self::Freeze => "freeze",
            Self::Schedule => "schedule",
            Self::Step => "step",
        }
    }
}

impl Action {
    /// The word as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bake => "bake",
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Repair => "repair",
            Self::Scale => "scale",
            Self::Adjust => "adjust",
            Self::Remove => "remove",
            Self::Run => "run",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
