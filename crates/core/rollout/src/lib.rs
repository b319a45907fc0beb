//! The blue/green rollout as a pure, journalled state machine.
