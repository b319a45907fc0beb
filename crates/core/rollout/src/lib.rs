//! Rollouts, blue/green, by canary, rolling and in place, as one pure, journalled state machine.
//!
//! Everything follows from two values: the [`World`], folded from the ledger's events and therefore durable, and the
//! [`Facts`], what the engine and the edge were last seen doing and therefore volatile. [`step`] says which events
//! come next, [`wanted`] which effects the world as recorded asks for, [`table`] what the edge should have in force;
//! [`Attention`] keeps which services they have to look at. None of them does I/O, reads a clock or draws a random number.

mod adjust;
mod attention;
mod belonging;
mod canary;
mod edge;
mod edges;
mod effect;
mod facts;
mod failed;
mod failing;
mod fitting;
mod fold;
mod freezes;
mod glass;
mod guarding;
mod halt;
mod health;
mod instance;
mod instances;
mod jobs;
mod judging;
mod kept_table;
mod leases;
mod listeners;
mod machine;
mod migrating;
mod one_off;
mod order;
mod planted;
mod preserving;
mod previewing;
mod previews;
mod quarantine;
mod question;
mod quiescing;
mod readings;
mod record;
mod recorded;
mod recycle;
mod rehearsals;
mod repair;
mod replacing;
mod rest;
mod retention;
mod retry;
mod rolling;
mod rollouts;
mod room;
mod rounds;
mod routes;
mod rules;
mod ruling;
mod runs;
mod scale;
mod scaler;
mod schedules;
mod services;
mod stage;
mod start;
mod steer;
mod step;
mod steps;
mod switch;
mod times;
mod transition;
mod view;
mod wanted;
mod world;

pub use adjust::{is_adjustment, makes_same_servers, take_back};
pub use attention::{Attention, Concern, concern};
pub use belonging::{BelongingError, Declared, check_belonging, go_first};
pub use canary::judgement;
pub use edge::{InForce, KnownEdge};
pub use edges::AWAY_ALLOWANCE;
pub use effect::{Effect, EffectKey};
pub use facts::{Exit, Facts, ListenerSeen, RegionFacts, Running, TestOutcome, TestRun};
pub use failed::failed_before;
pub use failing::UNHEARD_ALLOWANCE;
pub use fitting::{MakingWay, foresee, foresee_in_time, make_way};
pub use fold::WorldError;
pub use guarding::{guard_question, surplus_refusal};
pub use health::saw as saw_health;
pub use instance::{GlassMark, Instance, Instances, Quarantine};
pub use judging::saw_canaries;
pub use kept_table::table;
pub use listeners::saw as saw_listeners;
pub use machine::{Baseline, Kind, Phase, Rollout, RolloutFailure, Switch};
pub use order::down_order;
#[cfg(feature = "planted")]
pub use planted::plant;
pub use planted::{Bug, planted};
pub use previewing::{PreviewError, preview_spec, start_preview};
pub use question::{GuardOccasion, GuardQuestion, GuardRound, GuardsSeen};
pub use readings::CanaryReadings;
pub use record::{Record, Step};
pub use recorded::{
    DeclaredFreeze, DeclaredJob, DeclaredSchedule, FailedRelease, JobRun, KnownSession, KnownStep,
    KnownVolume, Lease, Leaving, OpenPreview, OpenRun, Proof, RehearsalRun, Rehearsed, ScheduleRun,
    SharedFailure, SkippedTimes, StepProgress,
};
pub use recycle::recycle_due;
pub use rehearsals::{StaleRollback, stale_rollback};
pub use repair::{MAX_REPAIRS, RepairState, repair_state};
pub use retention::{Hold, KeepOverride, Retained, in_use, needed_by_runs, retained};
pub use retry::{
    AfterFailure, REFUSED_RETRY, answer_allowance, failed, repeat_allowance, retry_delay,
};
pub use room::{NoRoom, Space, room_for_more};
pub use routes::{RouteClash, brings, clash, clash_with, socket};
pub use ruling::{StepInTheWay, no_return, rule_steps, unreached};
pub use runs::waited_for;
pub use scale::{Scaling, measures_processor, saw_load, scaling};
pub use scaler::{Load, Sample};
pub use stage::{
    Canary, Expanding, Paused, Replacing, ReplacingStage, Rolling, RollingStage, Window,
};
pub use start::{StartError, Target, last_proven, start_down, start_forward, start_rollback};
pub use steer::{PAUSE_LIMIT, steer};
pub use step::step;
pub use steps::{ReleaseStep, release_steps};
pub use wanted::{routes_settled, wake, wanted};
pub use world::{
    ListenerSpell, ListenerTrouble, ScaledTo, Service, ServingSet, TestRecord, WarmSet, World,
};

#[cfg(test)]
mod tests;
