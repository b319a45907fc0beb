//! Compares running instances with their images.

use std::time::Instant;

use hornero_engine_port::EngineError;
use hornero_model::{Depth, DriftFinding, InstanceId, VerifiedInstance, error_chain};
use hornero_store::Store;
use hornero_verify::{FindingKind, InstanceUnderTest, Report, Verifier, VerifyError};

use crate::{
    assemble::PROVIDED_FILES,
    recorded::{RecordedSpec, RunningProcess},
};

/// What runs under an id at the moment, if anything does.
pub(crate) type Running<'a> = &'a dyn Fn(&InstanceId) -> Option<(RecordedSpec, RunningProcess)>;

/// Compares those of some instances that run.
pub(crate) fn instances(
    store: &Store,
    ids: &[InstanceId],
    running: Running<'_>,
    depth: Depth,
) -> Result<Vec<VerifiedInstance>, EngineError> {
    let failed = |error: VerifyError| EngineError::failed("compare instances", error);
    // Held throughout, so that no image goes while its instances are looked at.
    let _lease = store.lease().map_err(|error| EngineError::failed("open the store", error))?;
    let mut verifier = Verifier::new(store).map_err(failed)?;
    let mut all = Vec::new();
    for id in ids {
        let Some((spec, process)) = running(id) else { continue };
        let began = Instant::now();
        let verified = match compare(&mut verifier, store, &spec, &process, depth) {
            Ok(report) => verified(&spec, report),
            // It has ended, and its process id may be another process' by now.
            Err(VerifyError::NotRunning { .. } | VerifyError::NoInstance { .. }) => continue,
            Err(error) => unreadable(&spec, &error, began),
        };
        // What was looked at may have been what got its process id.
        if verified.ok || running(id).is_some_and(|(_, now)| now == process) {
            all.push(verified);
        }
    }
    Ok(all)
}

fn compare(
    verifier: &mut Verifier<'_>,
    store: &Store,
    spec: &RecordedSpec,
    process: &RunningProcess,
    depth: Depth,
) -> Result<Report, VerifyError> {
    let scratch = store.image(&spec.image)?.config.scratch;
    let test = InstanceUnderTest {
        pid: process.pid,
        scratch: scratch.into_iter().map(|scratch| scratch.path).collect(),
        volumes: spec.mounts.iter().map(|mount| mount.path.clone()).collect(),
        files: PROVIDED_FILES
            .into_iter()
            .chain(spec.files.iter().map(|file| file.path.as_str()))
            .map(str::to_owned)
            .collect(),
        metadata: process.metadata,
    };
    verifier.instance(&spec.image, &test, depth)
}

/// An instance that could not be compared: nothing says that it equals its image.
fn unreadable(spec: &RecordedSpec, error: &VerifyError, began: Instant) -> VerifiedInstance {
    VerifiedInstance {
        id: spec.id.clone(),
        release: spec.release,
        image: spec.image,
        ok: false,
        millis: began.elapsed().as_millis() as u64,
        left_off: 0,
        findings: vec![DriftFinding {
            kind: FindingKind::Unreadable.word().to_owned(),
            path: "/".to_owned(),
            expected: String::new(),
            found: error_chain(error),
            pid: None,
        }],
    }
}

fn verified(spec: &RecordedSpec, report: Report) -> VerifiedInstance {
    VerifiedInstance {
        id: spec.id.clone(),
        release: spec.release,
        image: spec.image,
        ok: report.is_clean(),
        millis: report.millis,
        left_off: report.left_off,
        findings: report.findings.into_iter().map(Into::into).collect(),
    }
}

#[cfg(test)]
mod tests {
    use hornero_model::{Digest, ImageConfig};
    use hornero_store::ImageManifest;

    use super::*;
    use crate::record;

    #[test]
    fn one_instance_that_cannot_be_compared_does_not_hide_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let image = ImageManifest::new(Vec::new(), ImageConfig::default());
        let image = store.put_image(&image).unwrap();
        let id = |name: &str| InstanceId::new(format!("{name}-1-a")).unwrap();
        let (lost, ended, gone) = (id("lost"), id("ended"), id("gone"));
        // Of the first the image is gone; the number of the second's process is this one's by now.
        let running = |id: &InstanceId| {
            let image = if *id == lost { Digest::of(b"lost") } else { image };
            let spec = RecordedSpec { image, ..record::tests::record(id, "site").spec };
            let process = RunningProcess {
                pid: std::process::id(),
                address: None,
                metadata: None,
                streams: None,
            };
            (*id != gone).then_some((spec, process))
        };
        let ids = [lost.clone(), ended, gone.clone()];
        let found = instances(&store, &ids, &running, Depth::Fast).unwrap();
        let told: Vec<&InstanceId> = found.iter().map(|verified| &verified.id).collect();
        assert_eq!(told, [&lost], "what can't be compared is told of");
        assert!(!found[0].ok);
        assert_eq!(found[0].findings[0].kind, "unreadable");
        assert!(found[0].findings[0].found.contains("image"), "{:?}", found[0].findings);
    }
}
