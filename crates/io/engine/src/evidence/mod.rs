//! What can be seen of an instance: its processes, sockets and files, what it has written, and what the kernel wrote
//! about it.

pub mod kernel;
pub mod processes;
pub mod scratch;
pub mod sockets;
pub mod written;
