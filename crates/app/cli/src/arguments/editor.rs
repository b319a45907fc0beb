//! What `editor` takes.

/// Which file for editors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EditorFile {
    /// The JSON schema of `hornero.hcl`, in HCL's JSON form: blocks are objects by kind and label
    Schema,
    /// The TextMate grammar, which colours the file
    Grammar,
}
