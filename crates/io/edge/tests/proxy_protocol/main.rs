//! The PROXY protocol: from proxies in front, to servers behind, and with HAProxy and nginx on either side.

mod incoming;
mod outgoing;
mod peers;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;

use hornero_model::{RouteTable, RouteTls};

use crate::support::TestEdge;

/// A header of version 2 for one client of IPv4.
fn v2(source: &str, destination: &str) -> Vec<u8> {
    let ends = [source, destination].map(|end| end.parse::<SocketAddr>().unwrap());
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    for end in ends {
        let SocketAddr::V4(end) = end else { panic!("{end}") };
        header.extend(end.ip().octets());
    }
    ends.iter().for_each(|end| header.extend(end.port().to_be_bytes()));
    header
}

/// A header of version 2 for nobody.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Has an edge's listener take PROXY headers from `proxies`, by TLS where that is given.
fn expect_headers(edge: &mut TestEdge, proxies: &[&str], tls: Option<RouteTls>) -> RouteTable {
    let mut table = edge.admin_table();
    let listener = &mut table.listeners[0];
    listener.trusted_proxies = proxies.iter().map(|text| (*text).to_owned()).collect();
    listener.proxy_protocol = true;
    listener.tls = tls;
    edge.put(table.clone());
    table
}
