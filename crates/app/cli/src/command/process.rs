//! The processes that nobody types: `serve`, `edge` and `shim`.

use std::{net::SocketAddr, path::Path, time::Duration};

use hornero_net::{HomeNetwork, dns};

use crate::{failure::Failure, process_log::LogWords, stderr::Unfailing};

/// Told to end while servers go on: what a shell says of a process that SIGTERM ended. A service manager then starts
/// control again, which it does not after 0.
const ENDED_SERVING: i32 = 128 + libc::SIGTERM;

/// Nothing was left to take over: EX_TEMPFAIL of sysexits.h.
pub const MOOT: i32 = 75;

/// `hornero serve`: the control process.
pub fn serve(options: &hornero_control::Options, log: LogWords) -> Result<(), Failure> {
    let unfailing = Unfailing::take_over()?;
    let ended = hornero_control::serve(options)
        .map_err(|error| Failure::of(&*error).logged(log.format()))?;
    drop(unfailing);
    match ended {
        hornero_control::Ended::Empty => Ok(()),
        hornero_control::Ended::Serving => std::process::exit(ENDED_SERVING),
        hornero_control::Ended::Moot => std::process::exit(MOOT),
    }
}

/// `hornero edge`: the proxy, and the name server of the home's network beside it.
pub fn edge(home: &Path, log: LogWords, handover_timeout: Option<Duration>) -> Result<(), Failure> {
    let _unfailing = Unfailing::take_over()?;
    log.begin();
    let boot = hornero_control::boot_id();
    tracing::info!(
        version = hornero_model::program_version(),
        process = std::process::id(),
        home = %home.display(),
        "the edge starts"
    );
    let mut options = hornero_edge::EdgeOptions::new(home.join("edge"));
    options.internal_addresses = HomeNetwork::open(home).ok().map(|network| {
        let (first, last) = network.subnet().services();
        (first.into(), last.into())
    });
    let _names = match name_server(home) {
        Ok(server) => Some(server),
        Err(error) => {
            // Traffic from outside needs no names: better an edge without them than none.
            tracing::error!("the name server does not run: {error}");
            None
        }
    };
    options.boot = boot;
    if let Some(timeout) = handover_timeout {
        options.limits.handover_timeout = timeout;
    }
    hornero_edge::run(options).map_err(|error| Failure::of(&error).logged(log.format()))
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
