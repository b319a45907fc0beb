//! A connection, whatever it runs over.

use tokio::io::{AsyncRead, AsyncWrite};

/// A connection, whatever it runs over.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}
