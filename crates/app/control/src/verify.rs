//! Compares running instances with their images.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use hornero_api::message::{DriftFinding, VerifiedInstance, VerifiedService, VerifyReport};
use hornero_engine::{Engine, Instance, InstanceStatus};
use hornero_model::ServiceName;
use hornero_store::Store;
use hornero_verify::{Depth, InstanceUnderTest, Report, Verifier, VerifyError};

/// What the engine lays over every instance's root.
const PROVIDED_FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// One comparison at a time: it uses every processor, and servers need them too.
static TURN: Mutex<()> = Mutex::new(());

/// Compares every running instance, or those of one service. An instance that ends meanwhile is left out.
pub fn run(
    engine: &Arc<dyn Engine>,
    store: &Store,
    service: Option<&ServiceName>,
    depth: Depth,
) -> anyhow::Result<VerifyReport> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Held throughout, so that no image goes while its instances are looked at.
    let _lease = store.lease()?;
    let mut services: BTreeMap<ServiceName, Vec<VerifiedInstance>> = BTreeMap::new();
    let instances = engine.list()?;
    let mut verifier = Verifier::new(store)?;
    for instance in instances.iter().filter(|one| service.is_none_or(|name| one.service == *name)) {
        let InstanceStatus::Running(started) = &instance.status else { continue };
        let scratch = store.image(&instance.image)?.config.scratch;
        let test = InstanceUnderTest {
            pid: started.pid,
            scratch: scratch.into_iter().map(|scratch| scratch.path).collect(),
            files: PROVIDED_FILES.map(str::to_owned).to_vec(),
        };
        match verifier.instance(&instance.image, &test, depth) {
            Ok(report) => {
                let verified = verified(instance, report);
                services.entry(instance.service.clone()).or_default().push(verified);
            }
            Err(VerifyError::NotRunning { .. }) => {}
            Err(error) => {
                let context = format!("instance `{}` can't be compared", instance.id);
                return Err(anyhow::Error::from(error).context(context));
            }
        }
    }
    let services =
        services.into_iter().map(|(name, instances)| VerifiedService { name, instances }).collect();
    Ok(VerifyReport { services })
}

fn verified(instance: &Instance, report: Report) -> VerifiedInstance {
    VerifiedInstance {
        id: instance.id.clone(),
        release: instance.release,
        image: instance.image,
        ok: report.is_clean(),
        millis: report.millis,
        left_off: report.left_off,
        findings: report
            .findings
            .into_iter()
            .map(|finding| DriftFinding {
                kind: finding.kind.word().to_owned(),
                path: finding.path,
                expected: finding.expected,
                found: finding.found,
                pid: finding.pid,
            })
            .collect(),
    }
}
