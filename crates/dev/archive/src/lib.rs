//! Small signed Debian archives, made for tests and served on loopback.
