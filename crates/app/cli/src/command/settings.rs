//! `settings`: what holds for all services of a home.

use std::path::Path;

use hornero_api::{ClientError, message::StatusReport};
use hornero_control::LogLimits;
use hornero_forensics::ShelfLimits;
use hornero_spec::{Collector, SETTINGS_FILE, Settings};

use crate::{
    command::absent,
    failure::{Failure, exit},
    home_settings::{self, Unusable},
    output::{Table, Tone, print_json, print_text, size},
    project,
    reports::{AccessSettings, BundleSettings, LogSettings, OtlpReport, SettingsReport},
    supervision,
};

/// `hornero settings`.
pub async fn run(home: &Path, json: bool) -> Result<(), Failure> {
    let written = match home_settings::written(home) {
        Ok(written) => written,
        Err(Unusable::Mistaken(errors)) => {
            return project::mistaken(SETTINGS_FILE, &errors, json);
        }
        Err(unusable) => return Err(Failure::new(exit::USAGE, unusable.reason())),
    };
    let status: Result<StatusReport, ClientError> = absent::client(home).get("/v1/status").await;
    let runs = status.is_ok_and(|status| !status.control.absent);
    let in_force = runs.then(|| home_settings::in_force(home) == written);
    let report = SettingsReport {
        file: home.join(SETTINGS_FILE).display().to_string(),
        present: home.join(SETTINGS_FILE).exists(),
        budget: written.budget,
        logs: logs(&home_settings::log_limits(&written)),
        bundles: bundles(&home_settings::bundle_limits(&written)),
        witness: written.witness.clone(),
        otlp: written.otlp.as_ref().map(collector),
        api: AccessSettings::of(&written.api),
        in_force,
    };
    if json {
        return print_json(&report);
    }
    print_text(&text(&report, &written, home))
}

fn collector(of: &Collector) -> OtlpReport {
    OtlpReport {
        endpoint: of.endpoint.clone(),
        token_file: of.token_file.clone(),
        metrics: of.metrics,
        logs: of.logs,
        traces: of.traces,
    }
}

fn logs(limits: &LogLimits) -> LogSettings {
    LogSettings {
        per_service: limits.service_bytes,
        in_all: limits.home_bytes,
        days: limits.age.as_secs() / (24 * 3600),
    }
}

fn bundles(limits: &ShelfLimits) -> BundleSettings {
    BundleSettings {
        per_hour: limits.per_hour,
        in_all: limits.home_bytes,
        days: limits.age.as_secs() / (24 * 3600),
    }
}

fn text(report: &SettingsReport, written: &Settings, home: &Path) -> String {
    let from = |is_written: bool| if is_written { SETTINGS_FILE } else { "by default" };
    let mut table = Table::with_head(&["SETTING", "VALUE", "FROM"]);
    let mut row = |setting: &str, value: String, is_written: bool| {
        table.row(vec![
            (setting.to_owned(), Tone::Plain),
            (value, Tone::Plain),
            (from(is_written).to_owned(), Tone::Quiet),
        ]);
    };
    let budget = report.budget.map_or_else(
        || "half of what the services may make together, and what two of them may".to_owned(),
        |budget| format!("{} servers an hour, {} a day", budget.per_hour, budget.per_day),
    );
    row("budget", budget, report.budget.is_some());
    let LogSettings { per_service, in_all, days } = &report.logs;
    row("logs.per_service", size(*per_service), written.log_service_bytes.is_some());
    row("logs.in_all", size(*in_all), written.log_home_bytes.is_some());
    row("logs.days", days.to_string(), written.log_days.is_some());
    let BundleSettings { per_hour, in_all, days } = &report.bundles;
    row("bundles.per_hour", per_hour.to_string(), written.bundles_per_hour.is_some());
    row("bundles.in_all", size(*in_all), written.bundle_home_bytes.is_some());
    row("bundles.days", days.to_string(), written.bundle_days.is_some());
    let witness = report.witness.clone().unwrap_or_else(|| "none".to_owned());
    row("witness", witness, report.witness.is_some());
    let otlp = report.otlp.as_ref().map_or_else(
        || "none".to_owned(),
        |of| {
            let kinds = [("metrics", of.metrics), ("logs", of.logs), ("traces", of.traces)];
            let sent = kinds.into_iter().filter_map(|(kind, sent)| sent.then_some(kind));
            format!("{}: {}", of.endpoint, sent.collect::<Vec<_>>().join(", "))
        },
    );
    row("otlp", otlp, report.otlp.is_some());
    let api = &report.api;
    let mut row = |setting: String, value: String| {
        let from = (SETTINGS_FILE.to_owned(), Tone::Quiet);
        table.row(vec![(setting, Tone::Plain), (value, Tone::Plain), from]);
    };
    if let Some(listen) = &api.listen {
        row("api.listen".to_owned(), format!("{listen}{}", if api.tls { ", TLS" } else { "" }));
    }
    if let Some(socket) = &api.socket {
        row("api.socket".to_owned(), socket.clone());
    }
    for granted in &api.granted {
        row(format!("api.{} {}", granted.kind, granted.name), granted.role.to_string());
    }
    let mut text = table.render(crate::output::coloured());
    if report.in_force == Some(false) {
        let way = match supervision::unit_of(home) {
            Some(unit) => format!("`systemctl restart {}`", unit.name()),
            None => "end it with SIGTERM, and start `hornero serve`; servers go on".to_owned(),
        };
        text.push_str(&format!(
            "\ncontrol started before this was written, and runs with what was there: {way}\n"
        ));
    }
    text
}
