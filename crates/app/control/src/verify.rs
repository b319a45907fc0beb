//! Reports how running instances compare with their images, by service.

use std::collections::BTreeMap;

use hornero_api::message::{VerifiedService, VerifyReport};
use hornero_engine_port::{Engine, InstanceStatus};
use hornero_model::{Depth, InstanceId, ServiceName, VerifiedInstance};

/// Which instances are compared.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// These services are reported, also where nothing of them runs.
    pub services: &'a [ServiceName],
    /// Whether instances of others are compared as well.
    pub others: bool,
}

/// Has the engine compare running instances.
pub fn run(engine: &dyn Engine, asked: Asked<'_>, depth: Depth) -> anyhow::Result<VerifyReport> {
    let mut services: BTreeMap<ServiceName, Vec<VerifiedInstance>> =
        asked.services.iter().map(|name| (name.clone(), Vec::new())).collect();
    let running: BTreeMap<InstanceId, ServiceName> = engine
        .list()?
        .into_iter()
        .filter(|instance| matches!(instance.status, InstanceStatus::Running(_)))
        .filter(|instance| asked.others || asked.services.contains(&instance.service))
        .map(|instance| (instance.id, instance.service))
        .collect();
    let ids: Vec<InstanceId> = running.keys().cloned().collect();
    for verified in engine.verify(&ids, depth)? {
        if let Some(service) = running.get(&verified.id) {
            services.entry(service.clone()).or_default().push(verified);
        }
    }
    let services =
        services.into_iter().map(|(name, instances)| VerifiedService { name, instances }).collect();
    Ok(VerifyReport { services })
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::Receiver, time::Duration};

    use hornero_engine_port::{
        EngineError, Exit, Instance, InstanceSpec, Started,
        log::{LogPage, LogQuery},
    };
    use hornero_model::{
        Digest, ExitCause, HostFeature, InstanceHandle, Place, ReleaseNumber, Term, Timestamp,
    };

    use super::*;

    /// An engine that lists, and finds that those of `lost` that it is asked for differ.
    struct Listed {
        instances: Vec<Instance>,
        lost: InstanceId,
    }

    impl Engine for Listed {
        fn list(&self) -> Result<Vec<Instance>, EngineError> {
            Ok(self.instances.clone())
        }

        fn verify(
            &self,
            ids: &[InstanceId],
            _: Depth,
        ) -> Result<Vec<VerifiedInstance>, EngineError> {
            let differs = |id: &InstanceId| VerifiedInstance {
                id: id.clone(),
                release: ReleaseNumber(1),
                image: Digest::of(b"image"),
                ok: false,
                millis: 0,
                findings: Vec::new(),
                left_off: 0,
            };
            Ok(ids.iter().filter(|id| **id == self.lost).map(differs).collect())
        }

        fn start(&self, _: Term, _: &InstanceSpec) -> Result<Started, EngineError> {
            unreachable!("nothing is started")
        }

        fn stop(&self, _: Term, _: &InstanceId, _: Duration) -> Result<ExitCause, EngineError> {
            unreachable!("nothing is stopped")
        }

        fn remove(&self, _: Term, _: &InstanceId) -> Result<(), EngineError> {
            unreachable!("nothing is removed")
        }

        fn exits(&self) -> Receiver<Exit> {
            unreachable!("nobody follows")
        }

        fn logs(&self, _: &InstanceId, _: &LogQuery) -> Result<LogPage, EngineError> {
            unreachable!("nobody reads logs")
        }

        fn obey(&self, _: Term) -> Result<(), EngineError> {
            unreachable!("no control begins")
        }

        fn term(&self) -> Result<Term, EngineError> {
            unreachable!("nobody asks")
        }

        fn clean_up(&self, _: Term) -> Result<(), EngineError> {
            unreachable!("nothing is cleaned up")
        }

        fn support(&self) -> Vec<HostFeature> {
            Vec::new()
        }
    }

    fn listed(name: &str) -> Instance {
        let handle = InstanceHandle::new("1");
        Instance {
            id: InstanceId::new(format!("{name}-1-a")).unwrap(),
            service: name.parse().unwrap(),
            release: ReleaseNumber(1),
            image: Digest::of(b"image"),
            created: Timestamp::now(),
            status: InstanceStatus::Running(Started {
                handle,
                place: Place::local(),
                address: None,
            }),
        }
    }

    #[test]
    fn each_service_is_named_with_what_ran() {
        let lost = InstanceId::new("lost-1-a").unwrap();
        let engine = Listed { instances: vec![listed("lost"), listed("ended")], lost };
        let names: Vec<ServiceName> =
            ["ended", "idle", "lost"].iter().map(|name| name.parse().unwrap()).collect();
        let asked = Asked { services: &names, others: true };
        let report = run(&engine, asked, Depth::Fast).unwrap();
        let told: Vec<(&str, usize)> = report
            .services
            .iter()
            .map(|service| (service.name.as_str(), service.instances.len()))
            .collect();
        assert_eq!(told, [("ended", 0), ("idle", 0), ("lost", 1)], "each is named, with what ran");
        assert!(!report.services[2].instances[0].ok);

        let asked = Asked { services: &names[1..2], others: false };
        let report = run(&engine, asked, Depth::Fast).unwrap();
        assert_eq!(report.services.len(), 1, "others are left alone");
    }
}
