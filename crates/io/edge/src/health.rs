//! Active health: asks every backend, all the time, whether it keeps its contract.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use hornero_model::{Check, Health, HealthContract, HttpCheck};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    http1::{
        answer::{field_storage, parse_answer},
        body::{Decoder, Piece},
    },
    table::Backend,
    upstream::is_own_want,
};

/// Shortest pause between two checks of a backend that is not up yet.
const QUICKEST: Duration = Duration::from_millis(1);
/// The pause grows with the time already waited, by this share: a server is found at most an eighth late.
const GROWTH: u32 = 8;
/// Pause and time-out where a pool has no contract.
const DEFAULT_SPAN: Duration = Duration::from_secs(1);
/// Failures in a row where a pool has no contract.
const DEFAULT_FAILURES: u32 = 3;
/// Longest pause after a check that this side had no files for.
const OWN_WANT_PAUSE: Duration = Duration::from_millis(100);
/// Most bytes of a body that are searched, as the contract says.
const SEARCHED_BYTES: usize = 64 << 10;
/// Most bytes of an answer that are read: the body, its framing and a head.
const ANSWER_BYTES: usize = 128 << 10;

/// Told after every change of a health state or of a suspicion.
pub(crate) trait News {
    /// A health state changed.
    fn health_changed(&self);
    /// A backend can be used again.
    fn usable(&self);
}

/// The numbers of a contract.
struct Pace {
    interval: Duration,
    timeout: Duration,
    failures: u32,
}

impl Pace {
    fn of(contract: Option<&HealthContract>) -> Self {
        match contract {
            Some(contract) => Self {
                interval: contract.interval.duration(),
                timeout: contract.timeout.duration(),
                failures: contract.unhealthy_after,
            },
            None => {
                Self { interval: DEFAULT_SPAN, timeout: DEFAULT_SPAN, failures: DEFAULT_FAILURES }
            }
        }
    }
}

/// Checks `backend` until the task is aborted.
pub(crate) async fn probe_for_ever(backend: Arc<Backend>, news: impl News) {
    let pace = Pace::of(backend.contract.as_ref());
    let mut failures = 0;
    // Since when it has not been as it should be; the pause grows from there.
    let mut waiting_since = Instant::now();
    loop {
        let checked = tokio::time::timeout(pace.timeout, check(&backend)).await;
        let result = checked.unwrap_or_else(|_| {
            Err(Failed::Backend(format!("no answer within {} ms", pace.timeout.as_millis())))
        });
        let result = match result {
            Ok(()) => Ok(()),
            Err(Failed::Backend(reason)) => Err(reason),
            // Not asked, so not judged.
            Err(Failed::Own(reason)) => {
                tracing::warn!("can't check {}: {reason}", backend.address);
                tokio::time::sleep(pace.interval.min(OWN_WANT_PAUSE)).await;
                continue;
            }
        };
        let healthy = result.is_ok();
        *backend.last_error.lock().unwrap_or_else(PoisonError::into_inner) = result.err();
        let before = backend.health();
        if healthy {
            failures = 0;
            let suspect = backend.is_suspect();
            backend.clear_suspicion();
            if before != Health::Healthy {
                backend.set_health(Health::Healthy);
                news.health_changed();
            }
            if suspect || before != Health::Healthy {
                news.usable();
            }
        } else {
            failures += 1;
            if failures == 1 && before == Health::Healthy {
                waiting_since = Instant::now();
            }
            if before == Health::Healthy && failures >= pace.failures {
                backend.set_health(Health::Unhealthy);
                news.health_changed();
            }
        }
        let quick = !healthy && (backend.is_suspect() || backend.health() != Health::Healthy);
        let pause = match quick {
            true => {
                (waiting_since.elapsed() / GROWTH).clamp(QUICKEST.min(pace.interval), pace.interval)
            }
            false => pace.interval,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = backend.check_now.notified() => waiting_since = Instant::now(),
        }
    }
}

/// Why a check did not pass.
enum Failed {
    /// The backend did not keep its contract.
    Backend(String),
    /// The edge lacks files, ports or memory for asking.
    Own(io::Error),
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self::Backend(reason)
    }
}

async fn check(backend: &Backend) -> Result<(), Failed> {
    let port = match backend.contract.as_ref().map(|contract| &contract.check) {
        Some(Check::Http(check)) => {
            let address = SocketAddr::new(backend.address.ip(), check.port);
            return check_http(address, check).await;
        }
        Some(Check::Tcp(check)) => check.port,
        None => backend.address.port(),
    };
    let address = SocketAddr::new(backend.address.ip(), port);
    connect(address).await.map(drop)
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Failed> {
    TcpStream::connect(address).await.map_err(|error| match is_own_want(&error) {
        true => Failed::Own(error),
        false => Failed::Backend(format!("can't connect to {address}: {error}")),
    })
}

async fn check_http(address: SocketAddr, check: &HttpCheck) -> Result<(), Failed> {
    let mut stream = connect(address).await?;
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: {address}\r\nuser-agent: hornero-health\r\naccept: */*\r\n\
         connection: close\r\n\r\n",
        check.path
    );
    let broken = |error: io::Error| format!("connection to {address} broke: {error}");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut input = Vec::with_capacity(4096);
    loop {
        let count = stream.read_buf(&mut input).await.map_err(broken)?;
        if let Some(verdict) = judge(&input, count == 0, check) {
            return verdict.map_err(Failed::Backend);
        }
        if count == 0 {
            return Err(Failed::Backend(format!(
                "{address} closed the connection before its answer was complete"
            )));
        }
        if input.len() > ANSWER_BYTES {
            return Err(Failed::Backend("the answer is too large".to_owned()));
        }
    }
}

/// Whether what has come of an answer passes; none while that is not known.
fn judge(input: &[u8], ended: bool, check: &HttpCheck) -> Option<Result<(), String>> {
    let mut storage = field_storage();
    let head = match parse_answer(input, false, &mut storage) {
        Ok(Some((head, _, _))) => head,
        Ok(None) => return None,
        Err(_) => return Some(Err("the answer is not HTTP/1.1".to_owned())),
    };
    if head.is_interim() {
        return judge(&input[head.used..], ended, check);
    }
    let expected = match check.status {
        Some(status) => head.status == status,
        None => (200..400).contains(&head.status),
    };
    if !expected {
        let want = check.status.map_or("200 to 399".to_owned(), |status| status.to_string());
        return Some(Err(format!("answered {}, expected {want}", head.status)));
    }
    let Some(wanted) = &check.contains else { return Some(Ok(())) };
    let (mut decoder, mut body, mut at) = (Decoder::new(head.body), Vec::new(), head.used);
    let complete = loop {
        if decoder.is_over() {
            break true;
        }
        match decoder.next(&input[at..]) {
            Ok(Piece::NeedMore) => break ended && decoder.may_end(),
            Ok(Piece::Data(range)) => {
                body.extend_from_slice(&input[at + range.start..at + range.end]);
                at += range.end;
            }
            Ok(Piece::End { .. }) => break true,
            Err(_) => return Some(Err("the answer's body is malformed".to_owned())),
        }
    };
    let searched = &body[..body.len().min(SEARCHED_BYTES)];
    if memchr::memmem::find(searched, wanted.as_bytes()).is_some() {
        return Some(Ok(()));
    }
    (complete || body.len() >= SEARCHED_BYTES)
        .then(|| Err(format!("the body does not contain `{}`", wanted.escape_debug())))
}
