//! The independent watchdog that refuses effects which would break an invariant.
