//! Reads `settings.hcl` of a home: what holds for all of its services.

use hornero_model::Budget;

use crate::{
    Errors,
    error::errors,
    evaluate::Evaluator,
    parse::{any_text, body, failed},
    read_budget,
    section::Section,
};

/// The name of the file of settings in a home.
pub const SETTINGS_FILE: &str = "settings.hcl";

/// Bytes that logs of servers that are gone have at least: a page of the last words of each.
const LOG_BYTES_MIN: u64 = 64 << 10;
/// Days that they are kept at most, a hundred years.
const LOG_DAYS_MAX: u32 = 36_500;

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
    /// Who gets the ledger's heads, as written.
    pub witness: Option<String>,
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
    let (mut log_service_bytes, mut log_home_bytes, mut log_days) = (None, None, None);
    if let Some(mut logs) = section.part(&mut cx, "logs") {
        log_service_bytes = bytes_of(&mut cx, &mut logs, "per_service");
        log_home_bytes = bytes_of(&mut cx, &mut logs, "in_all");
        log_days = logs.whole(&mut cx, "days", 0, LOG_DAYS_MAX, "a hundred years are the most");
        logs.finish(&mut cx);
    }
    let witness = section.text(&mut cx, "witness").map(|text| text.value.to_string());
    section.finish(&mut cx);
    match errors(file, text, cx.mistakes) {
        Some(errors) => Err(errors),
        None => Ok(Settings { budget, log_service_bytes, log_home_bytes, log_days, witness }),
    }
}

fn bytes_of(cx: &mut Evaluator, logs: &mut Section<'_>, key: &'static str) -> Option<u64> {
    logs.size(cx, key, LOG_BYTES_MIN)
}
