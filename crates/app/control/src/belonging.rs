//! Refusals of what belongs to another directory, or was planned for another state of the home.

use hornero_rollout::BelongingError;
use hyper::StatusCode;

use crate::answer::ApiRefusal;

/// What a client is told, and what it can do.
pub fn refusal(error: &BelongingError) -> ApiRefusal {
    let text = error.to_string();
    match error {
        BelongingError::Elsewhere { service, owner, .. } => {
            ApiRefusal::new(StatusCode::CONFLICT, "owned_elsewhere", text).hint(format!(
                "name it otherwise here, take it down there with `hornero down {owner}`, or take it over with `hornero up \
                 --adopt {service}`"
            ))
        }
        BelongingError::NotRemovable { .. } => {
            ApiRefusal::new(StatusCode::CONFLICT, "not_removable", text)
                .hint("`hornero plan` shows what is the case now")
        }
        BelongingError::Stale { .. } => ApiRefusal::new(StatusCode::CONFLICT, "stale_plan", text)
            .hint("`hornero plan --out FILE` makes a new one"),
    }
}
