//! The load generator that demo, soak tests and bench share.
