//! Compares running servers and directory trees with the image they should equal.
