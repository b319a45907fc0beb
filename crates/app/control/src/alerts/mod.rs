//! Alerts: rules that are looked at by control itself, and those who hear of what they find.

pub mod conditions;
pub mod looking;
pub mod outbox;
pub mod rollouts;
pub mod rules;
pub mod send;
pub mod states;
pub mod watch;
