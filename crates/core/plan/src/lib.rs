//! Says what applying images and services would change in the world, and why.
//!
//! [`plan`] decides nothing by itself: whether a service is new, whole or to be replaced is what
//! [`hornero_rollout::Target`] says, as it will when the change is made. The reasons come from comparing what serves
//! with what is wanted, field by field.

mod difference;
mod plan;

pub use difference::differences;
pub use plan::{Action, Change, DesiredImage, ObjectKind, Plan, plan};
