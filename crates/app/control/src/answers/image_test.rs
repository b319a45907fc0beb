//! Tests of an image outside of any rollout.

use std::sync::Arc;

use hornero_api::message::{TestReport, TestRequest, TestResult};
use hornero_model::{Actor, Digest, error_chain};
use hornero_rollout::{TestOutcome, TestRun};

use crate::{
    answer::{Answer, ApiRefusal, json},
    api::Api,
    image_tests,
    input::{Input, Tested},
    request::Caller,
    start::Starter,
    tail::new_tail,
};

impl Api {
    /// Runs an image's tests now, and records how they went; a client that goes away ends neither.
    pub async fn test(&self, caller: Caller, TestRequest { service }: TestRequest) -> Answer {
        let adapters = Arc::clone(&self.adapters);
        let lease = self.lease().await?;
        let inputs = self.inputs.clone();
        let ran = tokio::task::spawn_blocking(move || {
            let _lease = lease;
            let (starter, runtime) = (&adapters.starter, &adapters.runtime);
            let (term, tail) = (adapters.tenure.term(), new_tail());
            let run = image_tests::run(starter, runtime, service.image, &service, (term, &tail));
            let (recorded, answer) = std::sync::mpsc::channel();
            let tested = Tested {
                by: Actor {
                    who: caller.user,
                    why: "its tests were asked for".to_owned(),
                    commit: None,
                },
                image: service.image,
                results: declared(starter, service.image, &run),
                recorded,
            };
            inputs.send(Input::Tested(tested)).map_err(ApiRefusal::internal)?;
            match answer.recv() {
                Ok(Ok(())) => Ok(run),
                Ok(Err(error)) => Err(ApiRefusal::internal(error_chain(&error))),
                Err(_) => Err(ApiRefusal::internal("the control process is ending")),
            }
        });
        let ran = ran.await.map_err(ApiRefusal::internal)??;
        let tests = ran.results.into_iter();
        let tests = tests
            .map(|one| TestResult { name: one.test, passed: one.passed, detail: one.detail })
            .collect();
        json(&TestReport { tests, log_tail: ran.log_tail })
    }
}

/// The results of tests that the image declares: what else failed says nothing of them, and would never be mended.
fn declared(starter: &Starter, image: Digest, run: &TestRun) -> Vec<TestOutcome> {
    let tests = starter.tests_of(&image).unwrap_or_default();
    let is_declared = |one: &&TestOutcome| tests.iter().any(|test| test.name == one.test);
    run.results.iter().filter(is_declared).cloned().collect()
}
