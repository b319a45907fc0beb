//! What figures are of, and which there are.

use hornero_model::{InstanceId, LatencyBucket, PoolName, ReleaseNumber, ServiceName};

/// What figures are of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FigureSubject {
    /// One instance.
    Instance {
        /// Its service.
        service: ServiceName,
        /// The release that it was made from.
        release: ReleaseNumber,
        /// Which.
        instance: InstanceId,
    },
    /// One release behind one port of a service, as the edge counts it.
    Pool {
        /// The service and its port.
        pool: PoolName,
        /// The release.
        release: ReleaseNumber,
    },
}

impl FigureSubject {
    /// The service.
    pub fn service(&self) -> &ServiceName {
        match self {
            Self::Instance { service, .. } => service,
            Self::Pool { pool, .. } => &pool.service,
        }
    }

    /// The release.
    pub fn release(&self) -> ReleaseNumber {
        match self {
            Self::Instance { release, .. } | Self::Pool { release, .. } => *release,
        }
    }

    /// As it is written: names hold no line feed.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Instance { service, release, instance } => {
                format!("i\n{service}\n{}\n{instance}", release.0)
            }
            Self::Pool { pool, release } => {
                format!("p\n{}\n{}\n{}", pool.service, release.0, pool.port)
            }
        }
    }

    /// What was written; none where it is of no kind that this version knows.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let mut parts = text.split('\n');
        let (kind, service) = (parts.next()?, parts.next()?.parse().ok()?);
        let release = ReleaseNumber(parts.next()?.parse().ok()?);
        let name = parts.next()?;
        if parts.next().is_some() {
            return None;
        }
        match kind {
            "i" => Some(Self::Instance { service, release, instance: name.parse().ok()? }),
            "p" => {
                let pool = PoolName { service, port: name.parse().ok()? };
                Some(Self::Pool { pool, release })
            }
            _ => None,
        }
    }
}

/// A figure. Those in microseconds, and all counts, grow from the start of what they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Figure {
    /// Memory in bytes.
    Memory,
    /// The most memory that ever was, in bytes.
    MemoryPeak,
    /// Processor time in microseconds.
    Processor,
    /// Time over the processor limit, in microseconds.
    Throttled,
    /// Processes and threads.
    Processes,
    /// Open file descriptors.
    Descriptors,
    /// Processes killed for want of memory.
    OutOfMemoryKills,
    /// Time in which something waited for a processor, in microseconds.
    ProcessorPressure,
    /// The same for memory.
    MemoryPressure,
    /// The same for a disk.
    DiskPressure,
    /// Requests begun.
    Requests,
    /// Requests in flight.
    InFlight,
    /// Requests that failed at the edge.
    Failed,
    /// Answers of 500 and more.
    ServerErrors,
    /// Answers of 4xx.
    ClientErrors,
    /// Answers of 3xx.
    Redirects,
    /// Answers of 2xx.
    Successes,
    /// Answers with which another protocol begins.
    Upgrades,
    /// Requests that waited before they were let in.
    Held,
    /// Attempts beyond the first.
    Retries,
    /// Bytes to instances.
    BytesIn,
    /// Bytes from instances.
    BytesOut,
    /// The sum of how long answers took to begin, in microseconds.
    LatencySum,
    /// Answers whose time to begin fell into a bucket.
    Latency(LatencyBucket),
}

/// All but latencies, by the number that stands for each in files, less one: new ones are added at the end.
const NUMBERED: [Figure; 23] = [
    Figure::Memory,
    Figure::MemoryPeak,
    Figure::Processor,
    Figure::Throttled,
    Figure::Processes,
    Figure::Descriptors,
    Figure::OutOfMemoryKills,
    Figure::ProcessorPressure,
    Figure::MemoryPressure,
    Figure::DiskPressure,
    Figure::Requests,
    Figure::InFlight,
    Figure::Failed,
    Figure::ServerErrors,
    Figure::ClientErrors,
    Figure::Redirects,
    Figure::Successes,
    Figure::Upgrades,
    Figure::Held,
    Figure::Retries,
    Figure::BytesIn,
    Figure::BytesOut,
    Figure::LatencySum,
];
/// The number of the first latency.
const LATENCY: u64 = 1_024;

impl Figure {
    /// Whether it grows from its beginning, so that what counts is the difference of two readings.
    pub fn grows(self) -> bool {
        !matches!(
            self,
            Self::Memory | Self::MemoryPeak | Self::Processes | Self::Descriptors | Self::InFlight
        )
    }

    pub(super) fn number(self) -> u64 {
        if let Self::Latency(bucket) = self {
            return LATENCY + bucket.index() as u64;
        }
        let place = NUMBERED.iter().position(|figure| *figure == self);
        place.map_or(0, |place| place as u64 + 1)
    }

    /// None where no figure of this version has that number.
    pub(super) fn of_number(number: u64) -> Option<Self> {
        if let Some(bucket) = number.checked_sub(LATENCY) {
            let bucket = usize::try_from(bucket).ok()?;
            return LatencyBucket::all().nth(bucket).map(Self::Latency);
        }
        let place = usize::try_from(number.checked_sub(1)?).ok()?;
        NUMBERED.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_a_number_of_its_own_that_never_changes() {
        for (place, figure) in NUMBERED.iter().enumerate() {
            assert_eq!(figure.number(), place as u64 + 1, "{figure:?}");
            assert_eq!(Figure::of_number(figure.number()), Some(*figure));
        }
        assert_eq!((Figure::Memory.number(), Figure::LatencySum.number()), (1, 23));
        for bucket in LatencyBucket::all() {
            let figure = Figure::Latency(bucket);
            assert_eq!(Figure::of_number(figure.number()), Some(figure));
        }
        for unknown in [0, 24, 1_023, 1_024 + 256, u64::MAX] {
            assert_eq!(Figure::of_number(unknown), None);
        }
    }

    #[test]
    fn subjects_are_read_as_they_were_written() {
        let service: ServiceName = "site".parse().unwrap();
        let release = ReleaseNumber(7);
        let instance = "site-7-ab12".parse().unwrap();
        let pool = PoolName { service: service.clone(), port: "http".parse().unwrap() };
        for subject in [
            FigureSubject::Instance { service, release, instance },
            FigureSubject::Pool { pool, release },
        ] {
            assert_eq!(FigureSubject::of_text(&subject.to_text()), Some(subject));
        }
        for wrong in ["", "i\nsite\n7", "i\nsite\n7\nx\ny", "x\nsite\n7\nx", "i\nsite\nx\nsite-7-a"]
        {
            assert_eq!(FigureSubject::of_text(wrong), None, "{wrong:?}");
        }
    }
}
