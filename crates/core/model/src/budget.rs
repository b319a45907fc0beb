//! Budgets of churn: how many servers may be made, and what tells that one was used up.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Millis, ServiceName};

/// How many servers of a service Hornero may make by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// In any hour.
    pub per_hour: u32,
    /// In any 24 hours.
    pub per_day: u32,
}

impl Budget {
    /// Servers an hour of a small service: one that fails every minute stays within it, a loop that has lost its delays
    /// does not.
    const PER_HOUR: u32 = 60;
    /// How often a large service may be made anew in an hour: each of its servers weighs as one of a small service.
    const SETS_PER_HOUR: u32 = 10;
    /// Hours' worth of servers in a day: what goes on for longer than a bad night is for a person to look at.
    pub const HOURS_A_DAY: u32 = 5;

    /// What holds for a service of this size that declares nothing.
    pub fn default_for(instances: u32) -> Self {
        Self::hourly(Self::PER_HOUR.max(instances.saturating_mul(Self::SETS_PER_HOUR)))
    }

    /// A budget of which the hour alone is given.
    pub const fn hourly(per_hour: u32) -> Self {
        Self { per_hour, per_day: per_hour.saturating_mul(Self::HOURS_A_DAY) }
    }

    /// What may be made for load beside it: that is wanted work, and comes and goes with every rush, so four times as much.
    pub const fn for_load(self) -> Self {
        const FACTOR: u32 = 4;
        Self {
            per_hour: self.per_hour.saturating_mul(FACTOR),
            per_day: self.per_day.saturating_mul(FACTOR),
        }
    }
}

/// The time that a limit of churn is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChurnWindow {
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
}

impl ChurnWindow {
    /// How long it is.
    pub const fn span(self) -> Millis {
        match self {
            Self::Hour => Millis(3_600_000),
            Self::Day => Millis(86_400_000),
        }
    }
}

impl fmt::Display for ChurnWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hour => "an hour",
            Self::Day => "a day",
        })
    }
}

/// Whose servers a limit of churn counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChurnScope {
    /// Those that Hornero made by itself: what somebody asks for goes on.
    Unrequested,
    /// Those that somebody asked for.
    Requested,
    /// Those that Hornero made because of the load.
    Load,
}

/// A limit of churn that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChurnBreach {
    /// The service; absent for the limit of the whole home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Whose servers were counted.
    pub scope: ChurnScope,
    /// The time that they were counted in.
    pub window: ChurnWindow,
    /// How many servers were made in it.
    pub made: u32,
    /// How many may be.
    pub limit: u32,
}

impl fmt::Display for ChurnBreach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, scope, window, made, limit } = self;
        let whose = match scope {
            ChurnScope::Unrequested => "by Hornero itself",
            ChurnScope::Requested => "because somebody asked",
            ChurnScope::Load => "for its load",
        };
        let noun = if *made == 1 { "server" } else { "servers" };
        let verb = if *made == 1 { "was" } else { "were" };
        let owner = match service {
            Some(service) => format!("of `{service}`"),
            None => "of all services".to_owned(),
        };
        write!(f, "{made} {noun} {owner} {verb} made within {window} {whose}, and {limit} may be")
    }
}
