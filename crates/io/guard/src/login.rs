//! Who asks a server.

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// The user; empty where none is named.
    pub user: &'a str,
    /// The password; none where none is given.
    pub password: Option<&'a [u8]>,
}
