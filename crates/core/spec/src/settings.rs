//! Reads `settings.hcl` of a home: what holds for all of its services.

use hornero_model::{AlertSettings, ApiSettings, Budget};

use crate::{
    Errors,
    error::errors,
    evaluate::Evaluator,
    parse::{any_text, body, failed},
    read_alerts, read_api, read_budget,
    read_otlp::{self, Collector},
    section::Section,
};

/// The name of the file of settings in a home.
pub const SETTINGS_FILE: &str = "settings.hcl";

/// Bytes that logs of servers that are gone have at least: a page of the last words of each.
const LOG_BYTES_MIN: u64 = 64 << 10;
/// Days that they are kept at most, a hundred years.
const LOG_DAYS_MAX: u32 = 36_500;

/// Bundles of one service in an hour at most: each takes a moment of a processor, and the last ones of a loop tell nothing new.
const BUNDLES_MAX: u32 = 1_000;
/// Bytes that bundles have at least: some of them.
const BUNDLE_BYTES_MIN: u64 = 1 << 20;

/// What a home's file of settings says. What it leaves out has its default, or what `hornero serve` is started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Servers that Hornero may make by itself, of all services together.
    pub budget: Option<Budget>,
    /// Bytes that logs of servers that are gone may take, for each service.
    pub log_service_bytes: Option<u64>,
    /// Bytes that they may take in all.
    pub log_home_bytes: Option<u64>,
    /// How many days older than the newest they may be.
    pub log_days: Option<u32>,
    /// How many bundles of servers that failed are made of one service in an hour.
    pub bundles_per_hour: Option<u32>,
    /// Bytes that all of them may take.
    pub bundle_home_bytes: Option<u64>,
    /// How many days older than the newest they may be.
    pub bundle_days: Option<u32>,
    /// Who gets the ledger's heads, as written.
    pub witness: Option<String>,
    /// Where the API listens, and who may what.
    pub api: ApiSettings,
    /// Who hears of alerts.
    pub alerts: AlertSettings,
    /// Who gets figures, logs and traces.
    pub otlp: Option<Collector>,
}

/// Reads a home's file of settings; an empty one sets nothing.
///
/// `file` is the name that errors show.
///
/// # Errors
///
/// Every mistake that could be found, in the order of their places.
pub fn settings(file: &str, bytes: &[u8]) -> Result<Settings, Errors> {
    let text = any_text(bytes).map_err(|error| failed(file, &error.0, vec![error.1]))?;
    let body = body(file, text)?;
    let mut cx = Evaluator::default();
    let mut section = Section::of_body(&mut cx, &body, 0..0, "the home".to_owned());
    let budget = read_budget::read(&mut cx, &mut section);
    let mut read = Settings { budget, ..Settings::default() };
    let longest = "a hundred years are the most";
    if let Some(mut logs) = section.part(&mut cx, "logs") {
        read.log_service_bytes = logs.size(&mut cx, "per_service", LOG_BYTES_MIN);
        read.log_home_bytes = logs.size(&mut cx, "in_all", LOG_BYTES_MIN);
        read.log_days = logs.whole(&mut cx, "days", 0, LOG_DAYS_MAX, longest);
        logs.finish(&mut cx);
    }
    if let Some(mut bundles) = section.part(&mut cx, "bundles") {
        let most = "more tell nothing new";
        read.bundles_per_hour = bundles.whole(&mut cx, "per_hour", 0, BUNDLES_MAX, most);
        read.bundle_home_bytes = bundles.size(&mut cx, "in_all", BUNDLE_BYTES_MIN);
        read.bundle_days = bundles.whole(&mut cx, "days", 0, LOG_DAYS_MAX, longest);
        bundles.finish(&mut cx);
    }
    read.witness = section.text(&mut cx, "witness").map(|text| text.value.to_string());
    read.api = read_api::read(&mut cx, &mut section).unwrap_or_default();
    read.alerts = read_alerts::read(&mut cx, &mut section).unwrap_or_default();
    read.otlp = read_otlp::read(&mut cx, &mut section);
    section.finish(&mut cx);
    match errors(file, text, cx.mistakes) {
        Some(errors) => Err(errors),
        None => Ok(read),
    }
}
