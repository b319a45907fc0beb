//! The conformance kit against the local engine, one check a test.

mod support;

use support::TestHome;

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                hornero_conformance::$name(&TestHome::new());
            }
        )*

        #[test]
        fn no_check_is_forgotten() {
            let here = [$(stringify!($name)),*];
            for (name, _) in hornero_conformance::CHECKS {
                assert!(here.contains(name), "{name}");
            }
        }
    };
}

checks!(
    start_is_idempotent,
    every_cause_of_exit_is_told,
    many_start_at_once,
    stop_is_idempotent,
    stop_sends_the_declared_signal,
    stop_kills_what_ignores_its_signal,
    removal_is_idempotent,
    bad_input_is_refused,
    failed_start_names_its_step,
    logs_begin_with_the_first_byte,
    exits_are_told_once,
    instances_outlive_their_engine,
    an_older_control_changes_nothing,
);

#[test]
fn all_of_it_holds_on_every_rung() {
    support::on_every_rung();
}
