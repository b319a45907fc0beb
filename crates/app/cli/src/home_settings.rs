//! The settings of a home: what its file says, and what control runs with where the file has mistakes.
//!
//! Control takes the file when it starts and keeps a copy of one without mistakes beside it. Where the file has some, or can't
//! be read, the copy holds: a slip of the pen must not lift a limit, and not keep servers from being replaced either.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use hornero_control::{LogLimits, OtlpSettings, WitnessPlace};
use hornero_forensics::ShelfLimits;
use hornero_home::{Opening, open, put};
use hornero_model::{AlertSettings, ApiSettings, Budget};
use hornero_spec::{Errors, SETTINGS_FILE, Settings, limits::FILE_BYTES, settings};

use crate::arguments::days;

/// The copy of the last file without mistakes that control took.
const IN_FORCE: &str = "settings.in-force.hcl";

/// What holds for all services of a home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeSettings {
    /// Servers that may be made by itself in all, where the file says it.
    pub budget: Option<Budget>,
    /// What logs of servers that are gone may take.
    pub logs: LogLimits,
    /// What bundles of servers that failed may take.
    pub bundles: ShelfLimits,
    /// Who gets the ledger's heads.
    pub witness: Option<WitnessPlace>,
    /// Where the API listens, and who may what.
    pub api: ApiSettings,
    /// Who gets figures, logs and traces.
    pub otlp: Option<OtlpSettings>,
    /// Who hears of alerts.
    pub alerts: AlertSettings,
    /// Why these are not what the file says now.
    pub fault: Option<String>,
}

/// Why a home's file of settings says nothing that could hold.
#[derive(Debug)]
pub enum Unusable {
    /// It can't be read.
    Unreadable(io::Error),
    /// It has mistakes.
    Mistaken(Errors),
    /// Its witness is none.
    Witness(String),
}

impl Unusable {
    /// In one line.
    pub fn reason(&self) -> String {
        match self {
            Self::Unreadable(error) => format!("`{SETTINGS_FILE}` can't be read: {error}"),
            Self::Mistaken(errors) => {
                let first = errors.iter().next();
                first.map_or_else(String::new, |first| {
                    format!("line {} of `{SETTINGS_FILE}`: {}", first.place.line, first.message)
                })
            }
            Self::Witness(reason) => format!("`witness` of `{SETTINGS_FILE}`: {reason}"),
        }
    }
}

/// Takes the file for a control process that starts, and keeps a copy.
pub fn take(home: &Path) -> HomeSettings {
    let written = read(&home.join(SETTINGS_FILE));
    if let Ok(found) = &written
        && let Err(error) = keep(home, found.as_ref().map(|(bytes, _)| bytes))
    {
        // Only a later file with mistakes would miss it.
        tracing::warn!("`{IN_FORCE}` of the home can't be written: {error}");
    }
    let taken = those_of(home, written);
    if let Some(fault) = &taken.fault {
        tracing::error!("{fault}; what it said before holds");
    }
    taken
}

/// What holds in a home.
pub fn of(home: &Path) -> HomeSettings {
    those_of(home, read(&home.join(SETTINGS_FILE)))
}

/// What the file says, where it says something that can hold.
pub fn written(home: &Path) -> Result<Settings, Unusable> {
    Ok(read(&home.join(SETTINGS_FILE))?.map(|(_, settings)| settings).unwrap_or_default())
}

/// What control took when it started; nothing is set where it took no file.
pub fn in_force(home: &Path) -> Settings {
    let kept = read(&home.join(IN_FORCE)).ok().flatten();
    kept.map(|(_, settings)| settings).unwrap_or_default()
}

/// What logs may take by some settings; what they leave out has its default.
pub fn log_limits(settings: &Settings) -> LogLimits {
    let default = LogLimits::default();
    LogLimits {
        service_bytes: settings.log_service_bytes.unwrap_or(default.service_bytes),
        home_bytes: settings.log_home_bytes.unwrap_or(default.home_bytes),
        age: settings.log_days.map_or(default.age, days),
    }
}

/// The same for bundles.
pub fn bundle_limits(settings: &Settings) -> ShelfLimits {
    let default = ShelfLimits::default();
    ShelfLimits {
        per_hour: settings.bundles_per_hour.unwrap_or(default.per_hour),
        home_bytes: settings.bundle_home_bytes.unwrap_or(default.home_bytes),
        age: settings.bundle_days.map_or(default.age, days),
    }
}

fn those_of(home: &Path, written: Result<Option<(Vec<u8>, Settings)>, Unusable>) -> HomeSettings {
    match written {
        Ok(found) => understood(&found.map(|(_, settings)| settings).unwrap_or_default(), None),
        Err(unusable) => understood(&in_force(home), Some(unusable.reason())),
    }
}

fn understood(settings: &Settings, fault: Option<String>) -> HomeSettings {
    let (logs, bundles) = (log_limits(settings), bundle_limits(settings));
    let witness = settings.witness.as_ref().and_then(|text| text.parse().ok());
    let otlp = settings.otlp.as_ref().map(|collector| OtlpSettings {
        endpoint: collector.endpoint.clone(),
        token_file: collector.token_file.as_ref().map(Into::into),
        metrics: collector.metrics,
        logs: collector.logs,
        traces: collector.traces,
    });
    let (budget, api) = (settings.budget, settings.api.clone());
    let alerts = settings.alerts.clone();
    HomeSettings { budget, logs, bundles, witness, api, otlp, alerts, fault }
}

/// The file and what it says; none where there is no file.
fn read(path: &Path) -> Result<Option<(Vec<u8>, Settings)>, Unusable> {
    let mut bytes = Vec::new();
    let file = match open(path, Opening::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(Unusable::Unreadable)?,
    };
    // One byte more than allowed, so that the parser sees that it is too much and says so.
    let read = file.take(FILE_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(Unusable::Unreadable)?;
    let settings = settings(SETTINGS_FILE, &bytes).map_err(Unusable::Mistaken)?;
    if let Some(text) = &settings.witness {
        let place = text.parse::<WitnessPlace>().map_err(Unusable::Witness)?;
        let refused = path.parent().and_then(|home| place.refused_by(home));
        refused.map_or(Ok(()), |reason| Err(Unusable::Witness(reason)))?;
    }
    Ok(Some((bytes, settings)))
}

fn keep(home: &Path, bytes: Option<&Vec<u8>>) -> io::Result<()> {
    let path = home.join(IN_FORCE);
    let Some(bytes) = bytes else {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    put(&path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, text: &str) {
            fs::write(self.0.path().join(SETTINGS_FILE), text).unwrap();
        }

        fn budget(&self) -> Option<u32> {
            of(self.0.path()).budget.map(|budget| budget.per_hour)
        }
    }

    #[test]
    fn a_file_with_mistakes_changes_nothing_and_says_so() {
        let home = Home::new();
        assert_eq!(take(home.0.path()).fault, None);
        assert_eq!(home.budget(), None);
        home.write("budget {\n  per_hour = 7\n}\nlogs {\n  days = 3\n}\n");
        assert_eq!(take(home.0.path()).logs.age, days(3));
        for mistaken in [
            "budget {\n  per_hour = 0\n}\n",
            "budgets {\n}\n",
            "witness = \"ftp://elsewhere\"\n",
            "witness = \"file:relative\"\n",
            "logs {\n",
        ] {
            home.write(mistaken);
            let taken = take(home.0.path());
            assert!(taken.fault.is_some_and(|fault| fault.contains(SETTINGS_FILE)), "{mistaken}");
            assert_eq!(home.budget(), Some(7), "{mistaken}");
            assert_eq!(taken.logs.age, days(3), "{mistaken}");
            assert!(written(home.0.path()).is_err(), "{mistaken}");
        }
        home.write("");
        assert_eq!(take(home.0.path()).fault, None);
        assert_eq!(home.budget(), None);
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let home = Home::new();
        let elsewhere = home.0.path().join("elsewhere");
        fs::write(&elsewhere, "logs {\n  days = 3\n}\n").unwrap();
        std::os::unix::fs::symlink(&elsewhere, home.0.path().join(SETTINGS_FILE)).unwrap();
        let taken = take(home.0.path());
        assert!(taken.fault.is_some());
        assert_eq!(taken.logs, LogLimits::default());
    }
}
