//! HTTP/1.1: heads read strictly and written anew, bodies reframed, requests proxied.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod exchange;
pub(crate) mod field;
pub(crate) mod head;
mod reframe;
pub(crate) mod target;
