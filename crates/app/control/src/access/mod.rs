//! Who may use the API, and the ways in beside the home's own socket: TCP for tools and browsers, a second socket for
//! members of Unix groups.

mod common_name;
pub mod gate;
pub mod local_door;
pub mod logins;
mod names;
mod origin;
pub mod pages;
mod peers;
pub mod rates;
mod secret_text;
mod tcp_door;
mod tls;
pub mod ways;
