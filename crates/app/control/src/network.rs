//! The home's network while control runs.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use hornero_model::{ServiceName, error_chain};
use hornero_net::HomeNetwork;

/// Between two looks after the network; how long a flushed packet filter may go unnoticed.
const NETWORK_INTERVAL: Duration = Duration::from_secs(30);

/// The addresses that services have, as they are recorded: they are on the bridge of a network that is up, before the edge
/// listens on them.
pub fn service_addresses(
    network: &HomeNetwork,
) -> hornero_net::Result<BTreeMap<ServiceName, IpAddr>> {
    let addresses = network.service_addresses()?;
    Ok(addresses.into_iter().map(|(service, address)| (service, address.into())).collect())
}

/// Looks after the network until it is told to stop.
pub struct NetworkKeeper {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl NetworkKeeper {
    /// Looks after the network now and then: somebody may have flushed the host's packet filter. Once another control process
    /// has taken over it is that one's to look after.
    pub fn start(
        mut network: HomeNetwork,
        is_over: impl Fn() -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let keeper = std::thread::Builder::new().name("network-keeper".to_owned());
        let thread = keeper.spawn(move || {
            while !told.load(Ordering::Acquire) {
                std::thread::park_timeout(NETWORK_INTERVAL);
                if told.load(Ordering::Acquire) || is_over() {
                    return;
                }
                if let Err(error) = network.up() {
                    tracing::warn!("looking after the network failed: {}", error_chain(&error));
                }
            }
        })?;
        Ok(Self { ended, thread })
    }

    /// Ends it, and waits until it has.
    pub fn end(self) {
        self.ended.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let _ = self.thread.join();
    }
}
