//! The one place that knows which engine stands behind the port: the local one.

use std::{path::Path, sync::Arc};

use hornero_engine::{LauncherCommand, LocalEngine, LocalOptions};
use hornero_engine_port::{Engine, EngineError};
use hornero_model::{ExitCause, InstanceId};
use hornero_net::HomeNetwork;
use hornero_store::Store;

pub use hornero_engine::{LogLimits, log_mark, read_log, trim_logs};

use crate::{edge::EdgeKeeper, lock::own, program::OWN_PROGRAM};

/// Opens the engine of a home. Instances that were lost since, how is not recorded, are said to have ended by `lost_by`.
pub fn open(
    home: &Path,
    log_limits: LogLimits,
    store: Arc<Store>,
    lost_by: ExitCause,
) -> Result<Arc<dyn Engine>, EngineError> {
    let options = options(home, log_limits, Some(store));
    Ok(Arc::new(LocalEngine::open_after(home, options, lost_by)?))
}

/// Its launcher is this program again.
fn options(home: &Path, log_limits: LogLimits, store: Option<Arc<Store>>) -> LocalOptions {
    let arguments = vec!["--home".into(), home.into(), "shim".into()];
    let launcher = LauncherCommand { program: OWN_PROGRAM.into(), arguments };
    LocalOptions { launcher, networked: true, log_limits, store }
}

/// Ends everything that runs in a home without its ledger, for when that can't be read. Nothing is recorded; logs stay.
/// Gives the instances that were ended.
pub fn abandon(home: &Path) -> anyhow::Result<Vec<InstanceId>> {
    let _lock = own(home)?;
    let mut network = HomeNetwork::open(home)?;
    network.up()?;
    EdgeKeeper::of(home).stop();
    let engine = LocalEngine::open(home, options(home, LogLimits::default(), None))?;
    let (term, mut ended) = (engine.term()?, Vec::new());
    for instance in engine.list()? {
        engine.remove(term, &instance.id)?;
        ended.push(instance.id);
    }
    engine.clean_up(term)?;
    drop(engine);
    network.down()?;
    Ok(ended)
}
