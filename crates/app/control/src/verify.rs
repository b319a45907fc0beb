//! Compares running instances with their images.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use hornero_api::message::{DriftFinding, VerifiedInstance, VerifiedService, VerifyReport};
use hornero_engine::{Engine, Instance, InstanceStatus, Started};
use hornero_model::ServiceName;
use hornero_store::Store;
use hornero_verify::{Depth, FindingKind, InstanceUnderTest, Report, Verifier, VerifyError};

use crate::ports::chain;

/// What the engine lays over every instance's root.
const PROVIDED_FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// One comparison at a time: it uses every processor, and servers need them too.
static TURN: Mutex<()> = Mutex::new(());

/// Which instances are compared.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// These services are reported, also where nothing of them runs.
    pub services: &'a [ServiceName],
    /// Whether instances of others are compared as well.
    pub others: bool,
}

/// Compares running instances. One that ends meanwhile is left out; one that can't be compared is told of like one that
/// differs, and the others are compared all the same.
pub fn run(
    engine: &dyn Engine,
    store: &Store,
    asked: Asked<'_>,
    depth: Depth,
) -> anyhow::Result<VerifyReport> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Held throughout, so that no image goes while its instances are looked at.
    let _lease = store.lease()?;
    let mut services: BTreeMap<ServiceName, Vec<VerifiedInstance>> =
        asked.services.iter().map(|name| (name.clone(), Vec::new())).collect();
    let mut verifier = Verifier::new(store)?;
    for instance in engine.list()? {
        let InstanceStatus::Running(started) = &instance.status else { continue };
        if !asked.others && !asked.services.contains(&instance.service) {
            continue;
        }
        let began = Instant::now();
        let verified = match compare(&mut verifier, store, &instance, started, depth) {
            Ok(report) => verified(&instance, report),
            // It has ended, and its process id may be another process' by now.
            Err(VerifyError::NotRunning { .. } | VerifyError::NoInstance { .. }) => continue,
            Err(error) => unreadable(&instance, &error, began),
        };
        // What was looked at may have been what got its process id.
        if !verified.ok && !runs_still(engine, &instance)? {
            continue;
        }
        services.entry(instance.service.clone()).or_default().push(verified);
    }
    let services =
        services.into_iter().map(|(name, instances)| VerifiedService { name, instances }).collect();
    Ok(VerifyReport { services })
}

fn compare(
    verifier: &mut Verifier<'_>,
    store: &Store,
    instance: &Instance,
    started: &Started,
    depth: Depth,
) -> Result<Report, VerifyError> {
    let scratch = store.image(&instance.image)?.config.scratch;
    let test = InstanceUnderTest {
        pid: started.pid,
        scratch: scratch.into_iter().map(|scratch| scratch.path).collect(),
        files: PROVIDED_FILES.map(str::to_owned).to_vec(),
        metadata: started.metadata,
    };
    verifier.instance(&instance.image, &test, depth)
}

fn runs_still(engine: &dyn Engine, instance: &Instance) -> anyhow::Result<bool> {
    let listed = engine.list()?;
    Ok(listed.iter().any(|one| one.id == instance.id && one.status == instance.status))
}

/// An instance that could not be compared: nothing says that it equals its image.
fn unreadable(instance: &Instance, error: &VerifyError, began: Instant) -> VerifiedInstance {
    VerifiedInstance {
        id: instance.id.clone(),
        release: instance.release,
        image: instance.image,
        ok: false,
        millis: began.elapsed().as_millis() as u64,
        left_off: 0,
        findings: vec![DriftFinding {
            kind: FindingKind::Unreadable.word().to_owned(),
            path: "/".to_owned(),
            expected: String::new(),
            found: chain(error),
            pid: None,
        }],
    }
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

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::Receiver, time::Duration};

    use hornero_engine::{
        EngineError, Exit, InstanceSpec, Usage,
        log::{LogPage, LogQuery},
    };
    use hornero_model::{Digest, ExitCause, ImageConfig, InstanceId, ReleaseNumber, Timestamp};
    use hornero_store::ImageManifest;

    use super::*;

    /// An engine that only lists.
    struct Listed(Vec<Instance>);

    impl Engine for Listed {
        fn list(&self) -> Result<Vec<Instance>, EngineError> {
            Ok(self.0.clone())
        }

        fn start(&self, _: &InstanceSpec) -> Result<Started, EngineError> {
            unreachable!("nothing is started")
        }

        fn stop(&self, _: &InstanceId, _: Duration) -> Result<ExitCause, EngineError> {
            unreachable!("nothing is stopped")
        }

        fn remove(&self, _: &InstanceId) -> Result<(), EngineError> {
            unreachable!("nothing is removed")
        }

        fn exits(&self) -> Receiver<Exit> {
            unreachable!("nobody follows")
        }

        fn logs(&self, _: &InstanceId, _: &LogQuery) -> Result<LogPage, EngineError> {
            unreachable!("nobody reads logs")
        }

        fn usage(&self, _: &InstanceId) -> Result<Usage, EngineError> {
            unreachable!("nobody asks")
        }

        fn support(&self) -> Vec<hornero_model::HostFeature> {
            Vec::new()
        }
    }

    fn listed(name: &str, image: Digest, pid: u32) -> Instance {
        Instance {
            id: InstanceId::new(format!("{name}-1-a")).unwrap(),
            service: name.parse().unwrap(),
            release: ReleaseNumber(1),
            image,
            created: Timestamp::now(),
            status: InstanceStatus::Running(Started { pid, address: None, metadata: None }),
        }
    }

    #[test]
    fn one_instance_that_cannot_be_compared_does_not_hide_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let image = ImageManifest::new(Vec::new(), ImageConfig::default());
        let image = store.put_image(&image).unwrap();
        // Of the first the image is gone; the number of the second's process is this one's by now.
        let own = std::process::id();
        let engine =
            Listed(vec![listed("lost", Digest::of(b"lost"), own), listed("ended", image, own)]);
        let names: Vec<ServiceName> =
            ["ended", "idle", "lost"].iter().map(|name| name.parse().unwrap()).collect();
        let asked = Asked { services: &names, others: true };
        let report = run(&engine, &store, asked, Depth::Fast).unwrap();
        let told: Vec<(&str, usize)> = report
            .services
            .iter()
            .map(|service| (service.name.as_str(), service.instances.len()))
            .collect();
        assert_eq!(told, [("ended", 0), ("idle", 0), ("lost", 1)], "each is named, with what ran");
        let lost = &report.services[2].instances[0];
        assert!(!lost.ok);
        assert_eq!(lost.findings[0].kind, "unreadable");
        assert!(lost.findings[0].found.contains("image"), "{:?}", lost.findings);

        let asked = Asked { services: &names[1..2], others: false };
        let report = run(&engine, &store, asked, Depth::Fast).unwrap();
        assert_eq!(report.services.len(), 1, "others are left alone");
    }
}
