//! One question to one server.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use hornero_model::{DataProbe, GuardVerdict};

use crate::{Login, ProbeError, amqp, http, nats, postgres, redis, wire::Deadlined};

/// Asks the server at an address once, until a deadline: what the guard says, and what was seen.
///
/// # Errors
/// Where there is no answer, or none that says it.
pub fn ask(
    address: IpAddr,
    probe: &DataProbe,
    password: Option<&[u8]>,
    deadline: Instant,
) -> Result<(GuardVerdict, String), ProbeError> {
    let port = match probe {
        DataProbe::Postgres(probe) => probe.port,
        DataProbe::Redis(probe) => probe.port,
        DataProbe::Amqp(probe) => probe.port,
        DataProbe::Nats(probe) => probe.port,
        DataProbe::Http(probe) => probe.port,
        DataProbe::Command(_) => return Err(ProbeError::Command),
    };
    let address = SocketAddr::new(address, port);
    ask_over(&mut Deadlined::connect(address, deadline)?, address, probe, password)
}

/// The same over a connection that is there.
///
/// # Errors
/// As [`ask`].
pub fn ask_over(
    stream: &mut (impl Read + Write),
    address: SocketAddr,
    probe: &DataProbe,
    password: Option<&[u8]>,
) -> Result<(GuardVerdict, String), ProbeError> {
    match probe {
        DataProbe::Postgres(probe) => {
            let login = Login { user: &probe.login.user, password };
            postgres::ask(stream, login, probe)
        }
        DataProbe::Redis(probe) => {
            let login = Login { user: &probe.login.user, password };
            redis::ask(stream, login, probe)
        }
        DataProbe::Amqp(probe) => {
            let login = Login { user: &probe.login.user, password };
            amqp::ask(stream, login, probe)
        }
        DataProbe::Nats(probe) => {
            let login = probe.login.as_ref().map(|login| Login { user: &login.user, password });
            nats::ask(stream, (address, login), probe)
        }
        DataProbe::Http(probe) => {
            let login = probe.login.as_ref().map(|login| Login { user: &login.user, password });
            http::ask(stream, (address, login), probe)
        }
        DataProbe::Command(_) => Err(ProbeError::Command),
    }
}
