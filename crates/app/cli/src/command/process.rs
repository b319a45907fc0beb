//! The processes that nobody types: `edge` and `shim`.

use std::{net::SocketAddr, path::Path};

use hornero_net::{HomeNetwork, dns};

use crate::failure::Failure;

/// `hornero edge`: the proxy, and the name server of the home's network beside it.
pub fn edge(home: &Path) -> Result<(), Failure> {
    let _names = match name_server(home) {
        Ok(server) => Some(server),
        Err(error) => {
            // Traffic from outside needs no names: better an edge without them than none.
            eprintln!("the name server does not run: {error}");
            None
        }
    };
    let options = hornero_edge::EdgeOptions::new(home.join("edge"));
    hornero_edge::run(options).map_err(|error| Failure::of(&error))
}

fn name_server(home: &Path) -> Result<dns::Server, Box<dyn std::error::Error>> {
    let network = HomeNetwork::open(home)?;
    let address = SocketAddr::from((network.gateway(), dns::PORT));
    Ok(dns::Server::bind(address, dns::HomeNames::new(home), dns::Upstreams::of_host())?)
}

/// `hornero shim`: the launcher of instances.
pub fn shim(home: &Path) -> Result<(), Failure> {
    hornero_engine::launcher::serve(home).map_err(|error| Failure::of(&error))
}
