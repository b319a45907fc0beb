//! What a check says.

use hornero_model::HostState;

/// What a check says.
pub(crate) struct CheckAnswer {
    pub(crate) state: HostState,
    pub(crate) observed: String,
    pub(crate) cost: Option<String>,
    pub(crate) hint: Option<String>,
}

impl CheckAnswer {
    /// Whether it is as it should be.
    pub(crate) fn passes(&self) -> bool {
        self.state == HostState::Pass
    }
}

/// As it should be.
pub(crate) fn pass(observed: impl Into<String>) -> CheckAnswer {
    CheckAnswer { state: HostState::Pass, observed: observed.into(), cost: None, hint: None }
}

/// Servers run, and `cost` is lost; `hint` mends it.
pub(crate) fn degraded(
    observed: impl Into<String>,
    cost: impl Into<String>,
    hint: impl Into<String>,
) -> CheckAnswer {
    CheckAnswer {
        state: HostState::Degraded,
        observed: observed.into(),
        cost: Some(cost.into()),
        hint: Some(hint.into()),
    }
}

/// Servers can't run, for `cost`; `hint` mends it.
pub(crate) fn missing(
    observed: impl Into<String>,
    cost: impl Into<String>,
    hint: impl Into<String>,
) -> CheckAnswer {
    CheckAnswer { state: HostState::Missing, ..degraded(observed, cost, hint) }
}
