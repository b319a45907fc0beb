//! The engine port and the local engine with its shims.
