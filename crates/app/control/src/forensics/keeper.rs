//! The thread that makes bundles, one after the other.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
};

use hornero_autopsy::autopsy;
use hornero_forensics::{Shelf, ShelfLimits, pack};
use hornero_ledger::Keys;
use hornero_model::{
    Actor, BundleBody, BundleSeal, Digest, EventBody, Millis, Timestamp, error_chain,
};
use hornero_rollout::World;

use super::{
    gather::Gathering,
    known,
    noticed::{Forensics, Noticed},
};
use crate::{
    input::Input,
    ports::{Adapters, ControlPorts},
    runs::Recorder,
};

/// How long ago a failure may be that `status` tells of.
pub const TOLD_FOR: Millis = Millis(3_600_000);

/// Makes bundles.
pub struct BundleKeeper {
    shelf: Shelf,
    limits: ShelfLimits,
    keys: Arc<Keys>,
    adapters: Arc<Adapters>,
    recorder: Arc<Recorder>,
    inputs: Sender<Input>,
}

/// Has bundles made from now on, those included that an earlier control process owes.
pub fn keep_bundles<H: AsRef<Path>>(
    (home, limits): (H, ShelfLimits),
    ports: &ControlPorts,
    recorder: &Arc<Recorder>,
    world: &World,
    noticed: Receiver<Noticed>,
) -> io::Result<()> {
    let (adapters, recorder) = (Arc::clone(&ports.adapters), Arc::clone(recorder));
    let (shelf, keys, inputs) =
        (Shelf::of(home.as_ref()), Arc::clone(&ports.keys), adapters.inputs.clone());
    let keeper = BundleKeeper { shelf, limits, keys, adapters, recorder, inputs };
    let has = |id: &_| keeper.shelf.find(id).is_some();
    keeper.forensics().take_up(world, has);
    let work = move || keeper.run(&noticed);
    std::thread::Builder::new().name("bundles".to_owned()).spawn(work).map(drop)
}

impl BundleKeeper {
    fn forensics(&self) -> &Forensics {
        &self.adapters.forensics
    }

    fn run(&self, noticed: &Receiver<Noticed>) {
        self.shelf.sweep();
        let found = self.shelf.list().unwrap_or_default();
        let now = Timestamp::now();
        for bundle in found.iter().rev() {
            if now.since(bundle.seal.body.sealed) < TOLD_FOR {
                self.forensics().sealed(bundle.seal.body.clone());
            }
            if !bundle.recorded && !self.record(&bundle.seal) {
                return;
            }
        }
        for noticed in noticed {
            let instance = noticed.instance.clone();
            let made = self.make(noticed);
            self.forensics().done_with(&instance);
            match made {
                Ok(true) => {}
                // The control process ends: the next one sees to it.
                Ok(false) => return,
                Err(error) => tracing::warn!("no bundle of `{instance}`: {error}"),
            }
        }
    }

    /// Makes one; false where the control process ends.
    fn make(&self, noticed: Noticed) -> io::Result<bool> {
        let instance = noticed.instance.clone();
        if !self.shelf.admits(&noticed.service, Timestamp::now(), &self.limits)? {
            // What is held of it is let go; one that was seen while it ran may run still, and is left alone.
            if noticed.living.is_none() {
                let (engine, term) = (self.adapters.starter.engine(), self.adapters.tenure.term());
                let _ = engine.examine(term, &instance, std::time::Duration::ZERO);
            }
            let most = self.limits.per_hour;
            tracing::info!(
                "no bundle of `{instance}`: its service has {most} of this hour already"
            );
            return Ok(true);
        }
        let of = (&noticed.service, noticed.release);
        let Some(known) = known::ask(&self.inputs, &instance, of) else { return Ok(false) };
        let gathering = Gathering {
            forensics: self.forensics(),
            starter: &self.adapters.starter,
            term: self.adapters.tenure.term(),
        };
        let mut contents = gathering.contents(noticed, known);
        let summary = autopsy(&contents).summary;
        let packed = pack(&mut contents)?;
        let seal = self.keys.seal_bundle(BundleBody {
            instance,
            service: contents.manifest.service.clone(),
            release: contents.manifest.release,
            sealed: Timestamp::now(),
            digest: Digest::of(&packed),
            bytes: packed.len() as u64,
            summary,
        });
        self.shelf.put(&seal, &packed)?;
        self.forensics().sealed(seal.body.clone());
        tracing::info!("`{}` failed: {}", seal.body.instance, seal.body.summary);
        if !self.record(&seal) {
            return Ok(false);
        }
        self.shelf.trim(&self.limits)?;
        Ok(true)
    }

    /// Records a bundle; false where the control process ends first.
    fn record(&self, seal: &BundleSeal) -> bool {
        let instance = &seal.body.instance;
        let by = Actor::hornero(format!("instance `{instance}` failed"));
        let body = EventBody::BundleSealed { seal: Box::new(seal.clone()) };
        if !self.recorder.record_end(&by, &body, &format!("the bundle of `{instance}`")) {
            return false;
        }
        if let Err(error) = self.shelf.recorded(instance) {
            tracing::warn!("the bundle of `{instance}` keeps its name: {}", error_chain(&error));
        }
        true
    }
}
