//! The conformance kit: what any engine must do, as functions that panic when it does not.
//!
//! An engine's own tests give the kit a [`Subject`] and call [`all`], or one function a test.

mod ending;
mod lasting;
mod obeying;
mod starting;
mod subject;

pub use ending::{
    bad_input_is_refused, failed_start_names_its_step, removal_is_idempotent, stop_is_idempotent,
    stop_kills_what_ignores_its_signal, stop_sends_the_declared_signal,
};
pub use lasting::{
    exits_are_told_once, instances_outlive_their_engine, logs_begin_with_the_first_byte,
};
pub use obeying::an_older_control_changes_nothing;
pub use starting::{every_cause_of_exit_is_told, many_start_at_once, start_is_idempotent};
pub use subject::{DEADLINE, Script, Subject, TERM};

/// A check of the kit.
pub type CheckFunction = fn(&dyn Subject);

/// Every check with its name.
pub const CHECKS: &[(&str, CheckFunction)] = &[
    ("start_is_idempotent", start_is_idempotent),
    ("every_cause_of_exit_is_told", every_cause_of_exit_is_told),
    ("many_start_at_once", many_start_at_once),
    ("stop_is_idempotent", stop_is_idempotent),
    ("stop_sends_the_declared_signal", stop_sends_the_declared_signal),
    ("stop_kills_what_ignores_its_signal", stop_kills_what_ignores_its_signal),
    ("removal_is_idempotent", removal_is_idempotent),
    ("bad_input_is_refused", bad_input_is_refused),
    ("failed_start_names_its_step", failed_start_names_its_step),
    ("logs_begin_with_the_first_byte", logs_begin_with_the_first_byte),
    ("exits_are_told_once", exits_are_told_once),
    ("instances_outlive_their_engine", instances_outlive_their_engine),
    ("an_older_control_changes_nothing", an_older_control_changes_nothing),
];

/// Runs every check, each against a fresh subject.
pub fn all<S: Subject>(make: impl Fn() -> S) {
    for (name, check) in CHECKS {
        println!("conformance: {name}");
        check(&make());
    }
}
