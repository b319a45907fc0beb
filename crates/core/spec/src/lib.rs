//! Reads hornero.hcl into valid types, with errors that point at the file.
