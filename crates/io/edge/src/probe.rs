//! The edge's own requests to each of the releases that share a pool, so that something is known of them where little comes
//! from outside.

use std::{io, sync::Arc, time::Duration};

use hornero_model::{Health, PoolProbe};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    backend::Backend,
    counters::SetCounters,
    http1::answer::{field_storage, parse_answer},
    net::is_own_want,
    proxy_protocol::{Endpoints, write_own},
    table::{PoolSet, Table},
};

/// How long an answer may take to begin; without one the request failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer that are read: a head, and those of interim answers before it.
const HEAD_BYTES: usize = 64 << 10;

/// What one release of a pool is asked.
pub(crate) struct ReleaseProbe {
    probe: PoolProbe,
    counters: Arc<SetCounters>,
    backends: Vec<Arc<Backend>>,
}

/// Every release that a table wants asked: those that share the traffic of a pool with such requests, each by itself.
pub(crate) fn wanted(table: &Table) -> Vec<ReleaseProbe> {
    let declared = table.source.pools.iter().filter_map(|pool| Some((pool, pool.probe.clone()?)));
    declared
        .flat_map(|(pool, probe)| {
            let shared = table.pools.iter().filter(|sets| sets.name == pool.name);
            let sets = shared.filter(|sets| sets.sets.len() > 1).flat_map(|sets| &sets.sets);
            let release = move |set: &PoolSet| ReleaseProbe {
                probe: probe.clone(),
                counters: set.counters.clone(),
                backends: set.backends.clone(),
            };
            sets.map(release).collect::<Vec<_>>()
        })
        .collect()
}

/// Asks one release's servers in turn until the task is aborted.
pub(crate) async fn ask_for_ever(release: ReleaseProbe) {
    let mut turns = interval(release.probe.interval.duration().max(Duration::from_millis(1)));
    // One that hangs is no reason for many at once afterwards.
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = 0_usize;
    loop {
        turns.tick().await;
        let healthy: Vec<_> =
            release.backends.iter().filter(|of| of.health() == Health::Healthy).collect();
        // What health checks find is theirs to tell.
        let Some(backend) = healthy.get(next % healthy.len().max(1)) else { continue };
        next = next.wrapping_add(1);
        let begun = Instant::now();
        let answer = timeout(PATIENCE, ask(backend, &release.probe.path)).await;
        match answer {
            Ok(Ok(status)) => release.counters.probed(Some((status, begun.elapsed()))),
            // Not asked, so not counted.
            Ok(Err(error)) if is_own_want(&error) => {}
            Ok(Err(_)) | Err(_) => release.counters.probed(None),
        }
    }
}

/// The status that a server answers with, on a connection of its own.
async fn ask(backend: &Backend, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(backend.address).await?;
    if let Some(version) = backend.proxy_protocol {
        let (source, destination) = (stream.local_addr()?, stream.peer_addr()?);
        stream.write_all(&write_own(version, &Endpoints { source, destination })).await?;
    }
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\nuser-agent: hornero-probe\r\naccept: */*\r\n\
         connection: close\r\n\r\n",
        backend.address
    );
    stream.write_all(request.as_bytes()).await?;
    let mut input = Vec::with_capacity(4096);
    loop {
        let count = stream.read_buf(&mut input).await?;
        if let Some(status) = status_of(&input)? {
            return Ok(status);
        }
        if count == 0 || input.len() > HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// The status of the final answer, once its head is there.
fn status_of(mut input: &[u8]) -> io::Result<Option<u16>> {
    loop {
        let mut storage = field_storage();
        match parse_answer(input, false, &mut storage) {
            Ok(Some((head, _, _))) if head.is_interim() => input = &input[head.used..],
            Ok(Some((head, _, _))) => return Ok(Some(head.status)),
            Ok(None) => return Ok(None),
            Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::status_of;

    #[test]
    fn the_final_status_counts() {
        let head = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(status_of(head).unwrap(), Some(503));
        for end in 0..head.len() - 1 {
            assert_eq!(status_of(&head[..end]).unwrap(), None, "{end}");
        }
        assert!(status_of(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
