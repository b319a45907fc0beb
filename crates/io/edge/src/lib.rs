//! The edge: listeners, routing, active health, counters, drain.
