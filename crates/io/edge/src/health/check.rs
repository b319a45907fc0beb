//! One check of a backend, on a connection of its own or on the one before.
//!
//! A new connection for every check costs several times what the check itself does: with a thousand a second that was a
//! tenth of a processor. So a connection is kept for the next checks, but only where the server was seen to answer
//! another one beside it: a server that has one thread for one connection would serve nobody but its checker.

use std::{io, net::SocketAddr, time::Duration};

use hornero_model::{Check, HttpCheck, ProxyProtocol};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::verdict::{CheckVerdict, judge};
use crate::{
    net::is_own_want,
    proxy_protocol::{Endpoints, write_own},
};

/// Checks on one connection before a new one takes its place, which shows that the server still accepts any.
const CHECKS_A_CONNECTION: u32 = 10;
/// Most bytes of an answer that are read: the body that is searched, its framing and a head.
const ANSWER_BYTES: usize = 128 << 10;

/// Why a check did not pass.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server did not keep its contract.
    Backend(String),
    /// The edge lacks files, ports or memory for asking.
    Own(io::Error),
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self::Backend(reason)
    }
}

/// Checks one server again and again.
pub(super) struct Checker {
    address: SocketAddr,
    /// None where a connection says enough.
    check: Option<HttpCheck>,
    timeout: Duration,
    /// The header that each of its connections begins with.
    proxy_protocol: Option<ProxyProtocol>,
    kept: Option<Kept>,
    /// The server answered no second connection while the first one was open.
    one_at_a_time: bool,
}

/// A connection on which the server waits for the next request.
struct Kept {
    stream: TcpStream,
    /// Checks that may still be made on it; none before the server has answered beside it.
    left: u32,
}

impl Checker {
    /// A checker of the server at `address`, or at the port that its `check` names.
    pub(super) fn new(
        mut address: SocketAddr,
        check: Option<Check>,
        timeout: Duration,
        proxy_protocol: Option<ProxyProtocol>,
    ) -> Self {
        let check = match check {
            Some(Check::Http(check)) => {
                address.set_port(check.port);
                Some(check)
            }
            Some(Check::Tcp(check)) => {
                address.set_port(check.port);
                None
            }
            None => None,
        };
        Self { address, check, timeout, proxy_protocol, kept: None, one_at_a_time: false }
    }

    /// Checks once. A server that is `doubted` is asked on a new connection, with none beside it.
    pub(super) async fn check(&mut self, doubted: bool) -> Result<(), Failed> {
        let Some(check) = self.check.clone() else { return self.connects().await };
        if doubted {
            self.kept = None;
        }
        let Some(mut kept) = self.kept.take() else {
            return self.check_alone(&check).await;
        };
        if kept.left == 0 {
            return self.check_beside(kept, &check).await;
        }
        let answer = timeout(self.timeout, ask(&mut kept.stream, &check, false)).await;
        match answer.map_err(|_| self.late())? {
            Ok(CheckVerdict::Passes { kept: again }) => {
                kept.left -= 1;
                self.kept = Some(kept).filter(|_| again);
                Ok(())
            }
            Ok(CheckVerdict::Fails(why)) => Err(why.into()),
            // The server may end a connection that waits whenever it likes (RFC 9112, 9.3): that says nothing of it.
            Err(_) => self.check_alone(&check).await,
        }
    }

    /// Checks on a new connection while `kept` is open, which is then closed.
    async fn check_beside(&mut self, kept: Kept, check: &HttpCheck) -> Result<(), Failed> {
        // Half the time is lost at most, once, where the server answers one connection at a time.
        let answer = timeout(self.timeout / 2, self.open(check, false)).await;
        drop(kept);
        match answer {
            Ok(Ok((verdict, stream))) => self.take(verdict, stream, CHECKS_A_CONNECTION),
            Ok(Err(_)) => self.check_alone(check).await,
            Err(_) => {
                let result = self.check_alone(check).await;
                self.one_at_a_time |= result.is_ok();
                self.kept = None;
                result
            }
        }
    }

    /// Checks on a new connection with none beside it.
    async fn check_alone(&mut self, check: &HttpCheck) -> Result<(), Failed> {
        let opening = self.open(check, self.one_at_a_time);
        let (verdict, stream) = timeout(self.timeout, opening).await.map_err(|_| self.late())??;
        self.take(verdict, stream, 0)
    }

    /// Keeps the connection of a check that passed for the next ones.
    fn take(&mut self, verdict: CheckVerdict, stream: TcpStream, left: u32) -> Result<(), Failed> {
        match verdict {
            CheckVerdict::Passes { kept } => {
                let keeps = kept && !self.one_at_a_time;
                self.kept = keeps.then_some(Kept { stream, left });
                Ok(())
            }
            CheckVerdict::Fails(why) => Err(why.into()),
        }
    }

    async fn connects(&self) -> Result<(), Failed> {
        timeout(self.timeout, self.connect()).await.map_err(|_| self.late())?.map(drop)
    }

    async fn connect(&self) -> Result<TcpStream, Failed> {
        let mut stream = connect(self.address).await?;
        if let Some(version) = self.proxy_protocol {
            let tell = async {
                let (source, destination) = (stream.local_addr()?, stream.peer_addr()?);
                let header = write_own(version, &Endpoints { source, destination });
                stream.write_all(&header).await
            };
            let broken = |error| format!("connection to {} broke: {error}", self.address);
            tell.await.map_err(broken)?;
        }
        Ok(stream)
    }

    /// Connects and asks.
    async fn open(
        &self,
        check: &HttpCheck,
        last: bool,
    ) -> Result<(CheckVerdict, TcpStream), Failed> {
        let mut stream = self.connect().await?;
        let verdict = ask(&mut stream, check, last).await?;
        Ok((verdict, stream))
    }

    fn late(&self) -> String {
        format!("no answer within {} ms", self.timeout.as_millis())
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Failed> {
    TcpStream::connect(address).await.map_err(|error| match is_own_want(&error) {
        true => Failed::Own(error),
        false => Failed::Backend(format!("can't connect to {address}: {error}")),
    })
}

/// Asks on a connection, for the `last` time or not, and reads until the verdict is clear.
async fn ask(
    stream: &mut TcpStream,
    check: &HttpCheck,
    last: bool,
) -> Result<CheckVerdict, Failed> {
    let address = stream.peer_addr().map_err(|error| error.to_string())?;
    let broken = |error: io::Error| format!("connection to {address} broke: {error}");
    let close = if last { "connection: close\r\n" } else { "" };
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: {address}\r\nuser-agent: hornero-health\r\naccept: */*\r\n\
         {close}\r\n",
        check.path
    );
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut input = Vec::with_capacity(4096);
    loop {
        let count = stream.read_buf(&mut input).await.map_err(broken)?;
        if let Some(verdict) = judge(&input, count == 0, check) {
            return Ok(verdict);
        }
        if count == 0 {
            let reason = format!("{address} closed the connection before its answer was complete");
            return Err(reason.into());
        }
        if input.len() > ANSWER_BYTES {
            return Ok(CheckVerdict::Fails("the answer is too large".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests;
