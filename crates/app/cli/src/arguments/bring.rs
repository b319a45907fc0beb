//! What `up` and `plan` take.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use hornero_model::{FreezeName, GuardName, ServiceName, StepName, StepNameError, StepRuling};

use super::{preview::PreviewWords, source::Source};

/// What `up` takes.
#[derive(Debug, Args)]
pub struct UpArguments {
    /// What to work on; instead of a directory, a plan that `plan --out` wrote
    #[command(flatten)]
    pub source: Source,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Put images on this base, such as the one before a patch: name, digest, or the beginning of a digest
    #[arg(long, value_name = "IMAGE")]
    pub base: Option<String>,
    /// Take down services that the directory declared before and no longer declares, without asking
    #[arg(long, conflicts_with = "no_prune")]
    pub prune: bool,
    /// Leave services that the directory no longer declares as they are
    #[arg(long)]
    pub no_prune: bool,
    /// Take this service over from the directory that it belongs to
    #[arg(long, value_name = "SERVICE")]
    pub adopt: Vec<ServiceName>,
    /// Try releases again that failed: their servers would be the same
    #[arg(long)]
    pub retry_failed: bool,
    /// Roll out although this freeze holds or this guard refuses, or with this schema step taken for done; needs `--reason`,
    /// and both stand in the ledger
    #[arg(
        long = "override",
        value_name = "freeze.NAME|guard.NAME|step.NAME|fresh_rollback",
        value_parser = overridden
    )]
    pub overrides: Vec<Override>,
    /// Run this schema step once more that failed, or of which nobody knows how far it came
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    pub rerun_step: Vec<StepName>,
    /// Return once all servers and new requests are on what is brought: it is watched, the old servers drain and the receipt
    /// is written without this command
    #[arg(long, conflicts_with = "name")]
    pub no_wait: bool,
    /// Show where each millisecond went
    #[arg(long, conflicts_with = "name")]
    pub timings: bool,
    /// What is shown beside what serves instead of taking its place
    #[command(flatten)]
    pub preview: PreviewWords,
}

/// What somebody overrides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Override {
    /// A freeze.
    Freeze(FreezeName),
    /// A data guard.
    Guard(GuardName),
    /// A schema step, which counts as done.
    Step(StepName),
    /// That a service wants a fresh proof that it could go back.
    FreshRollback,
}

/// A freeze or a guard, as a plan or a refusal names it.
fn overridden(text: &str) -> Result<Override, String> {
    if text == "fresh_rollback" {
        return Ok(Override::FreshRollback);
    }
    if text.starts_with("guard.") {
        return overridden_guard(text).map(Override::Guard);
    }
    if let Some(step) = text.strip_prefix("step.") {
        return step.parse().map(Override::Step).map_err(|error: StepNameError| error.to_string());
    }
    let name = text.strip_prefix("freeze.");
    let name = name.ok_or("write `freeze.NAME`, `guard.NAME`, `step.NAME` or `fresh_rollback`")?;
    FreezeName::new(name).map(Override::Freeze).map_err(|error| error.to_string())
}

/// What `rollback` and `down` override.
#[derive(Debug, Args)]
pub struct OverriddenGuards {
    /// Go on whatever this data guard says; needs `--reason`, and both stand in the ledger
    #[arg(long = "override", value_name = "guard.NAME", value_parser = overridden_guard)]
    pub overrides: Vec<GuardName>,
}

/// A data guard, as a refusal names it.
fn overridden_guard(text: &str) -> Result<GuardName, String> {
    let name = text.strip_prefix("guard.").ok_or("write `guard.NAME`")?;
    GuardName::new(name).map_err(|error| error.to_string())
}

impl UpArguments {
    /// The freezes that are overridden.
    pub fn freezes(&self) -> Vec<FreezeName> {
        let name = |one: &Override| match one {
            Override::Freeze(name) => Some(name.clone()),
            Override::Guard(_) | Override::Step(_) | Override::FreshRollback => None,
        };
        self.overrides.iter().filter_map(name).collect()
    }

    /// The data guards that are overridden.
    pub fn guards(&self) -> Vec<GuardName> {
        let name = |one: &Override| match one {
            Override::Guard(name) => Some(name.clone()),
            Override::Freeze(_) | Override::Step(_) | Override::FreshRollback => None,
        };
        self.overrides.iter().filter_map(name).collect()
    }

    /// What is decided about schema steps.
    pub fn rulings(&self) -> BTreeMap<StepName, StepRuling> {
        let done = self.overrides.iter().filter_map(|one| match one {
            Override::Step(step) => Some((*step, StepRuling::Done)),
            Override::Freeze(_) | Override::Guard(_) | Override::FreshRollback => None,
        });
        let again = self.rerun_step.iter().map(|step| (*step, StepRuling::Rerun));
        again.chain(done).collect()
    }

    /// Whether something is overridden that is recorded with a reason, beside freezes.
    pub fn needs_reason(&self) -> bool {
        let is_freeze = |one: &Override| matches!(one, Override::Freeze(_));
        !self.overrides.iter().all(is_freeze)
    }

    /// Whether services are rolled out that have no fresh proof that they could go back.
    pub fn overrides_fresh_rollback(&self) -> bool {
        self.overrides.contains(&Override::FreshRollback)
    }
}

/// What `plan` takes.
#[derive(Debug, Args)]
pub struct PlanArguments {
    /// What to work on
    #[command(flatten)]
    pub source: Source,
    /// Keep the plan in this file: `hornero up FILE` does exactly that, or refuses
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Exit with 10 where there is something to change, and with 0 only where there is nothing
    #[arg(long)]
    pub detailed_exitcode: bool,
}
