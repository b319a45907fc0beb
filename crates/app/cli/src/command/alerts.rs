//! `alerts`: those that hold, and rules for Prometheus.

use std::path::Path;

use hornero_api::message::{AlertDestination, AlertStatus, AlertsReport};
use hornero_model::Timestamp;

use crate::{
    arguments::AlertsCommand,
    command::absent,
    failure::Failure,
    harmless::harmless,
    output::{Table, Tone, age, print_json, print_text},
};

/// `hornero alerts ls`.
pub async fn run(home: &Path, json: bool, command: AlertsCommand) -> Result<(), Failure> {
    let report: AlertsReport = match command {
        AlertsCommand::Ls => absent::client(home).get("/v1/alerts").await?,
        AlertsCommand::Rules => return print_text(&hornero_control::alert_rules()),
    };
    match json {
        true => print_json(&report),
        false => print_text(&harmless(&text(&report, Timestamp::now(), crate::output::coloured()))),
    }
}

fn text(report: &AlertsReport, now: Timestamp, colour: bool) -> String {
    let mut text = match report.alerts.is_empty() {
        true => "no alerts\n".to_owned(),
        false => table(&report.alerts, now, colour),
    };
    for AlertDestination { kind, waiting, fault, .. } in &report.destinations {
        if let Some(fault) = fault {
            text.push_str(&format!("\nwarning: {kind} takes nothing, {waiting} wait: {fault}\n"));
        }
    }
    text
}

fn table(alerts: &[AlertStatus], now: Timestamp, colour: bool) -> String {
    let mut table = Table::with_head(&["STATE", "SEVERITY", "RULE", "OBJECT", "AGE", "WHAT"]);
    for alert in alerts {
        let tone = match alert.state.as_str() {
            "firing" => Tone::Bad,
            _ => Tone::Quiet,
        };
        table.row(vec![
            (alert.state.clone(), tone),
            (alert.severity.clone(), Tone::Plain),
            (alert.rule.clone(), Tone::Plain),
            (alert.object.clone(), Tone::Plain),
            (age(now, alert.since), Tone::Quiet),
            (alert.summary.clone(), Tone::Plain),
        ]);
    }
    table.render(colour)
}
