//! Says what applying images and services would change in the world, and why.
//!
//! [`plan`] decides nothing by itself: whether a service is new, whole or to be replaced is what
//! [`hornero_rollout::Target`] says, as it will when the change is made. The reasons come from comparing what serves
//! with what is wanted, field by field. What would keep the change from being made is said from facts about the host,
//! the files it has and the archives it knows, which others gather.

mod change;
mod difference;
mod freeze;
mod job;
mod own;
mod plan;
mod problem;
mod schedule;
mod steps;
mod whole;

pub use change::{Action, Change, Foreign, ObjectKind};
pub use difference::differences;
pub use freeze::freeze_changes;
pub use job::job_changes;
pub use plan::{DesiredImage, Plan, plan};
pub use problem::{
    About, CertificateFact, MissingPackage, NotChecked, PackagesFact, PortFact, Problem, RouteKey,
    clashes, of_certificate, of_packages, of_port,
};
pub use schedule::schedule_changes;
