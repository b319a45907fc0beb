//! What the API's requests are answered from, and how answers ask the thread that owns the driver.

use std::sync::{Arc, RwLock, mpsc::Sender};

use hornero_driver::Driver;
use hornero_engine_port::Engine;
use hornero_ledger::Ledger;
use hornero_model::{Receipt, Timestamp};
use hornero_net::HomeNetwork;
use hornero_volume::Volumes;
use hyper::StatusCode;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::{
    access::ways::Ways,
    alerts::watch::Alerts,
    answer::ApiRefusal,
    beside::AskGuards,
    calls::CallSource,
    glass::Glass,
    input::Input,
    jobs::Jobs,
    metrics::Metrics,
    operations::Operations,
    ports::Adapters,
    rehearsals::Rehearsals,
    runs::{Recorder, Runs},
    schedules::Schedules,
    succession::EdgeNews,
    witness::Witness,
};

/// Looks that read much, at once: more would only take the disk from each other.
pub const LONG_LOOKS: usize = 4;

/// Everything that requests are answered from.
pub struct Api {
    /// To the thread that owns the driver.
    pub inputs: Sender<Input>,
    /// What clients follow.
    pub operations: Arc<Operations>,
    /// Every receipt, oldest first.
    pub receipts: Arc<RwLock<Vec<Receipt>>>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The engine, for logs and for what this host can't do.
    pub engine: Arc<dyn Engine>,
    /// What starts servers, for tests of images.
    pub adapters: Arc<Adapters>,
    /// The way of deeds into the ledger.
    pub recorder: Arc<Recorder>,
    /// One-off work.
    pub runs: Arc<Runs>,
    /// Sessions in servers.
    pub glass: Arc<Glass>,
    /// Jobs.
    pub jobs: Arc<Jobs>,
    /// Data guards.
    pub guards: AskGuards,
    /// Rehearsals of rollbacks.
    pub rehearsals: Arc<Rehearsals>,
    /// Schedules.
    pub schedules: Arc<Schedules>,
    /// Volumes.
    pub volumes: Volumes,
    /// The network, for the services' addresses.
    pub network: HomeNetwork,
    /// What is known of the edge beyond what it counts.
    pub edge: Arc<EdgeNews>,
    /// Who calls whom.
    pub calls: CallSource,
    /// When this process started.
    pub started: Timestamp,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// Why the home's settings are not those of its file.
    pub settings_fault: Option<String>,
    /// What gets the ledger's heads.
    pub witness: Option<Arc<Witness>>,
    /// The alerts.
    pub alerts: Arc<Alerts>,
    /// The ways in beside the home's own socket.
    pub ways: Arc<Ways>,
    /// Places for looks that read much.
    pub long_looks: Arc<Semaphore>,
    /// The number of the newest event.
    pub newest: watch::Receiver<u64>,
    /// Those who may follow events beside those who do.
    pub readers: Arc<Semaphore>,
}

impl Api {
    /// Looks at what takes long: a few at a time, so that no number of them keeps anything else from a thread. Whoever goes
    /// away before their turn has come is not looked for.
    pub async fn look_long<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiRefusal> {
        let places = Arc::clone(&self.long_looks);
        let place = places.acquire_owned().await.map_err(ApiRefusal::internal)?;
        let looking = tokio::task::spawn_blocking(move || {
            // It is free once the look has ended, also where nobody waits for it any more.
            let _place = place;
            look()
        });
        looking.await.map_err(ApiRefusal::internal)
    }

    /// Asks the thread that owns the driver.
    pub async fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Driver) -> T + Send + 'static,
    ) -> Result<T, ApiRefusal> {
        let (sender, receiver) = oneshot::channel();
        let question = Box::new(move |driver: &Driver| {
            // A client that went away needs no answer.
            let _ = sender.send(look(driver));
        });
        self.inputs.send(Input::Ask(question)).map_err(ApiRefusal::internal)?;
        receiver.await.map_err(|_| ApiRefusal::internal("the control process is ending"))
    }
}

/// That nothing of this kind has this name.
pub fn not_found(kind: &str, name: &str) -> ApiRefusal {
    ApiRefusal::new(
        StatusCode::NOT_FOUND,
        &format!("no_such_{kind}"),
        format!("no {kind} `{name}`"),
    )
}
