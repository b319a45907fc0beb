//! What the settings of a home say of alerts: who hears of them.

/// Who hears of alerts, and of rollouts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertSettings {
    /// An Alertmanager, by the URL below which its API is.
    pub alertmanager: Option<String>,
    /// A URL that alerts are posted to.
    pub webhook: Option<String>,
    /// A program that is run for each change of an alert, which it reads from its stdin.
    pub command: Option<String>,
    /// A URL that beginnings and ends of rollouts are posted to.
    pub rollouts: Option<String>,
}
