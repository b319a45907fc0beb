//! The log of control and edge: lines with a level on standard error, for people, for programs, or for the journal.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
    os::unix::fs::MetadataExt as _,
};

use clap::{Args, ValueEnum};
use hornero_model::Timestamp;
use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

/// The variables by which control hands its own choice to its edge.
pub const FORMAT_VARIABLE: &str = "HORNERO_LOG_FORMAT";
/// See [`FORMAT_VARIABLE`].
pub const LEVEL_VARIABLE: &str = "HORNERO_LOG_LEVEL";

/// How control and edge log.
#[derive(Debug, Clone, Copy, Args)]
pub struct LogWords {
    /// How lines look: for people, for programs, or with the priorities of the journal; as standard error has it by
    /// default
    #[arg(long, value_enum, env = FORMAT_VARIABLE, hide_env = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// The least level that is logged
    #[arg(long, value_enum, env = LEVEL_VARIABLE, hide_env = true, default_value = "info", value_name = "LEVEL")]
    pub log_level: LogLevel,
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Time, level, text and fields
    Human,
    /// An object a line
    Json,
    /// Text and fields behind a priority (sd-daemon(3)); the journal has the time
    Journal,
}

/// The least level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What failed and needs somebody
    Error,
    /// What went wrong and is dealt with
    Warn,
    /// What happens
    Info,
    /// How it happens
    Debug,
    /// Every detail
    Trace,
}

impl LogWords {
    /// The format: what was asked for, or what standard error calls for.
    pub fn format(self) -> LogFormat {
        let fitting = || match is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) {
            true => LogFormat::Journal,
            false => LogFormat::Human,
        };
        self.log_format.unwrap_or_else(fitting)
    }

    /// Has everything that this process tells by `tracing`, panics included, written to standard error.
    pub fn begin(self) {
        let log = ProcessLog { format: self.format(), least: self.log_level.filter() };
        // A second call in one process would be a mistake of ours; the first one's log goes on.
        let _ = tracing::subscriber::set_global_default(log);
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            tracing::error!(thread = thread.name().unwrap_or("unnamed"), "{panic}");
        }));
    }

    /// What an edge that is started with it logs by.
    pub fn environment(self) -> Vec<(&'static str, std::ffi::OsString)> {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map(|value| value.get_name().to_owned().into())
        };
        let format = name(self.format().to_possible_value()).map(|name| (FORMAT_VARIABLE, name));
        let level = name(self.log_level.to_possible_value()).map(|name| (LEVEL_VARIABLE, name));
        format.into_iter().chain(level).collect()
    }
}

impl LogLevel {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// Whether standard error is the stream that `JOURNAL_STREAM` names by device and inode (systemd.exec(5)): the variable
/// is also there where somebody has put a file in its place.
fn is_journal(stream: Option<&str>) -> bool {
    let named = stream.and_then(|text| {
        let (device, inode) = text.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    let own = std::fs::metadata("/proc/self/fd/2").ok().map(|file| (file.dev(), file.ino()));
    named.is_some() && named == own
}

/// What takes events. There are no spans: what a line is about stands in its fields.
#[derive(Debug)]
struct ProcessLog {
    format: LogFormat,
    least: LevelFilter,
}

impl Subscriber for ProcessLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What libraries have to say about themselves is for whoever asks for it.
        let ours = metadata.target().starts_with("hornero");
        *metadata.level() <= self.least && (ours || *metadata.level() <= Level::WARN)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.least)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let text = self.format.render(event, Timestamp::now());
        // One call a line, so that lines of threads do not mix. A log that can't be written is lost, and nothing else.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl LogFormat {
    /// The line or lines of an event.
    fn render(self, event: &Event<'_>, now: Timestamp) -> String {
        let mut said = Said::default();
        event.record(&mut said);
        let metadata = event.metadata();
        match self {
            Self::Human => {
                format!("{now} {:>5} {}\n", metadata.level(), said.text().replace('\n', "\n  "))
            }
            Self::Journal => {
                // A priority holds for one line.
                let priority = priority(*metadata.level());
                said.text().lines().fold(String::new(), |mut text, line| {
                    let _ = writeln!(text, "<{priority}>{line}");
                    text
                })
            }
            Self::Json => {
                let line = json!({
                    "timestamp": now.to_string(),
                    "level": metadata.level().as_str(),
                    "target": metadata.target(),
                    "message": said.message,
                    "fields": said.fields,
                });
                format!("{line}\n")
            }
        }
    }
}

/// syslog(3)'s number of a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// The message and fields of an event.
#[derive(Debug, Default)]
struct Said {
    message: String,
    fields: Map<String, Value>,
}

impl Said {
    /// All of it for people.
    fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let _ = write!(text, " {name}={value}");
        }
        text
    }

    fn take(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        } else {
            self.fields.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Renders what is logged, at a time that is always the same.
    struct Renderer {
        format: LogFormat,
        lines: Arc<Mutex<String>>,
    }

    impl Subscriber for Renderer {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            let log = ProcessLog { format: self.format, least: LevelFilter::INFO };
            log.enabled(metadata)
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            let line = self.format.render(event, Timestamp(1_700_000_000_123));
            self.lines.lock().unwrap().push_str(&line);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    fn logged(format: LogFormat) -> String {
        let lines = Arc::new(Mutex::new(String::new()));
        let renderer = Renderer { format, lines: Arc::clone(&lines) };
        tracing::subscriber::with_default(renderer, || {
            tracing::info!(target: "hornero_control", services = 3, "all are {}", "healthy");
            tracing::error!(target: "hornero_edge", address = %"1.2.3.4:80", "first\nsecond");
            tracing::debug!(target: "hornero_edge", "not at this level");
            tracing::info!(target: "hyper", "libraries talk about themselves");
        });
        lines.lock().unwrap().to_string()
    }

    #[test]
    fn people_get_time_level_text_and_fields() {
        expect_test::expect![[r#"
            2023-11-14T22:13:20.123Z  INFO all are healthy services=3
            2023-11-14T22:13:20.123Z ERROR first
              second address=1.2.3.4:80
        "#]]
        .assert_eq(&logged(LogFormat::Human));
    }

    #[test]
    fn the_journal_gets_a_priority_on_every_line() {
        expect_test::expect![[r#"
            <6>all are healthy services=3
            <3>first
            <3>second address=1.2.3.4:80
        "#]]
        .assert_eq(&logged(LogFormat::Journal));
    }

    #[test]
    fn programs_get_an_object_a_line() {
        let text = logged(LogFormat::Json);
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected = [
            json!({
                "timestamp": "2023-11-14T22:13:20.123Z",
                "level": "INFO",
                "target": "hornero_control",
                "message": "all are healthy",
                "fields": { "services": 3 },
            }),
            json!({
                "timestamp": "2023-11-14T22:13:20.123Z",
                "level": "ERROR",
                "target": "hornero_edge",
                "message": "first\nsecond",
                "fields": { "address": "1.2.3.4:80" },
            }),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        let own = std::fs::metadata("/proc/self/fd/2").unwrap();
        assert!(is_journal(Some(&format!("{}:{}", own.dev(), own.ino()))));
        assert!(!is_journal(Some(&format!("{}:{}", own.dev(), own.ino() + 1))));
        assert!(!is_journal(Some("nonsense")));
        assert!(!is_journal(None));
    }
}
