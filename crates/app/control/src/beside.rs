//! What is done beside the driver for it, as its ports reach that.

use std::sync::Arc;

use hornero_model::{GuardAnswer, Run, RunEnd, ServiceSpec, Timestamp};
use hornero_rollout::GuardQuestion;

/// Carries out a run that is recorded, of a server like this, and gives its end; without a server it is ended. What was begun
/// is not begun again.
pub type CarryOut = Arc<dyn Fn(Run, Timestamp, Option<ServiceSpec>) -> RunEnd + Send + Sync>;

/// Asks each data guard once.
pub type AskGuards = Arc<dyn Fn(&GuardQuestion) -> Vec<GuardAnswer> + Send + Sync>;
