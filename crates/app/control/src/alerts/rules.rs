//! The rules of alerts: what each is about, how urgent it is, and how long it has to hold or to be over.

use hornero_model::Millis;

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody should look today.
    Warning,
    /// Somebody should look now.
    Critical,
}

impl Urgency {
    /// Its word, as Prometheus' users have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A rule.
#[derive(Debug, PartialEq, Eq)]
pub struct AlertRule {
    /// Its name in files and labels.
    pub name: &'static str,
    /// The name of its alerts, as Prometheus' users write them.
    pub alert: &'static str,
    /// How urgent it is.
    pub urgency: Urgency,
    /// How long it has to hold before it fires.
    pub pending: Millis,
    /// How long it has to be over before that is said: what comes and goes is one alert.
    pub keep: Millis,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

const MINUTE: u64 = 60_000;

macro_rules! rule {
    ($constant:ident, $name:literal, $alert:literal, $urgency:ident, $pending:expr, $keep:expr, $meaning:literal, $remedy:literal) => {
        #[doc = $meaning]
        pub const $constant: AlertRule = AlertRule {
            name: $name,
            alert: $alert,
            urgency: Urgency::$urgency,
            pending: Millis($pending),
            keep: Millis($keep),
            meaning: $meaning,
            remedy: $remedy,
        };
    };
}

rule!(
    BUDGET_NEAR,
    "budget_near",
    "HorneroBudgetNear",
    Warning,
    0,
    10 * MINUTE,
    "Four fifths of what may be made by itself were made",
    "`hornero churn` says of what and why"
);
rule!(
    BUDGET_REACHED,
    "budget_reached",
    "HorneroBudgetReached",
    Critical,
    0,
    MINUTE,
    "A limit of churn was reached: nothing is made or removed by itself",
    "`hornero churn`, then `hornero resume --reason …`"
);
rule!(
    CRASH_LOOP,
    "crash_loop",
    "HorneroCrashLoop",
    Critical,
    0,
    MINUTE,
    "Servers fail as often as they are made, and are not replaced any more",
    "`hornero logs SERVICE`, then `hornero rollback` or `recycle`"
);
rule!(
    ROLLOUT_FAILED,
    "rollout_failed",
    "HorneroRolloutFailed",
    Warning,
    0,
    MINUTE,
    "The newest release failed, and another one serves",
    "`hornero history SERVICE` says how"
);
rule!(
    SERVICE_HALTED,
    "service_halted",
    "HorneroServiceHalted",
    Critical,
    30_000,
    MINUTE,
    "A rollout can't go on, and can't go back",
    "`hornero status` says why"
);
rule!(
    SERVERS_MISSING,
    "servers_missing",
    "HorneroServersMissing",
    Critical,
    2 * MINUTE,
    MINUTE,
    "Fewer servers are healthy than are wanted",
    "`hornero status` says which are not, and why"
);
rule!(
    GUARD_REFUSING,
    "guard_refusing",
    "HorneroGuardRefusing",
    Warning,
    MINUTE,
    MINUTE,
    "A data guard keeps servers from being taken away",
    "`hornero guard check SERVICE` says what it sees"
);
rule!(
    STALE_BASE,
    "stale_base",
    "HorneroStaleBase",
    Warning,
    0,
    MINUTE,
    "The base of what serves is older than thirty days",
    "`hornero patch --deploy`"
);
rule!(
    STALE_PROOF,
    "stale_proof",
    "HorneroStaleProof",
    Warning,
    0,
    MINUTE,
    "That a service could go back was not seen for longer than it wants, or failed",
    "`hornero rehearse SERVICE`"
);
rule!(
    SCHEDULE_FAILED,
    "schedule_failed",
    "HorneroScheduleFailed",
    Warning,
    0,
    MINUTE,
    "The last time of a schedule failed",
    "`hornero schedule ls` names its log"
);
rule!(
    LISTENER_FAULT,
    "listener_fault",
    "HorneroListenerFault",
    Critical,
    30_000,
    MINUTE,
    "A way in can't be served, or not as it should",
    "`hornero status` says why"
);
rule!(
    DISK_NEARLY_FULL,
    "disk_nearly_full",
    "HorneroDiskNearlyFull",
    Critical,
    0,
    5 * MINUTE,
    "Less than a tenth of the home's file system is free",
    "`hornero image gc`, or make room"
);
rule!(
    JOURNAL_FAULT,
    "journal_fault",
    "HorneroJournalFault",
    Critical,
    10_000,
    MINUTE,
    "Nothing can be written to the ledger, so that nothing is decided",
    "`hornero status` says why"
);
rule!(
    SETTINGS_FAULT,
    "settings_fault",
    "HorneroSettingsFault",
    Warning,
    0,
    MINUTE,
    "Control runs with other settings than the home's file has",
    "`hornero settings` names the mistakes"
);
rule!(
    WITNESS_FAULT,
    "witness_fault",
    "HorneroWitnessFault",
    Warning,
    5 * MINUTE,
    MINUTE,
    "The witness does not take the ledger's heads",
    "`hornero status` says why"
);
rule!(
    API_FAULT,
    "api_fault",
    "HorneroApiFault",
    Warning,
    30_000,
    MINUTE,
    "The API is not reached where the settings say",
    "`hornero status --json` says why, under `control.api`"
);

/// All of them.
pub const RULES: [&AlertRule; 16] = [
    &BUDGET_NEAR,
    &BUDGET_REACHED,
    &CRASH_LOOP,
    &ROLLOUT_FAILED,
    &SERVICE_HALTED,
    &SERVERS_MISSING,
    &GUARD_REFUSING,
    &STALE_BASE,
    &STALE_PROOF,
    &SCHEDULE_FAILED,
    &LISTENER_FAULT,
    &DISK_NEARLY_FULL,
    &JOURNAL_FAULT,
    &SETTINGS_FAULT,
    &WITNESS_FAULT,
    &API_FAULT,
];

/// The metric by which Prometheus sees alerts that fire.
pub const METRIC: &str = "hornero_alert_firing";

/// A file of rules for Prometheus, by that metric.
pub fn rules_file() -> String {
    let mut text = String::from("groups:\n  - name: hornero\n    rules:\n");
    for rule in RULES {
        text.push_str(&format!(
            "      - alert: {}\n        expr: {METRIC}{{rule=\"{}\"}} == 1\n        labels:\n          severity: {}\n        \
             annotations:\n          summary: \"{} ({{{{ $labels.object }}}})\"\n          description: \"{}\"\n",
            rule.alert,
            rule.name,
            rule.urgency.as_str(),
            rule.meaning,
            rule.remedy.replace('"', "\\\"")
        ));
    }
    text.push_str(
        "      - alert: HorneroAbsent\n        expr: absent(hornero_build_info)\n        for: 2m\n        labels:\n          \
         severity: critical\n        annotations:\n          summary: \"No control process is scraped\"\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = RULES.iter().flat_map(|rule| [rule.name, rule.alert]).collect();
        assert_eq!(names.len(), 2 * RULES.len());
        assert!(RULES.iter().all(|rule| rules_file().contains(rule.alert)));
    }
}
