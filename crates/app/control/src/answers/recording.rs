//! Deeds of people that are recorded by themselves.

use std::sync::Arc;

use hornero_model::{Actor, EventBody, error_chain};

use crate::{answer::ApiRefusal, api::Api, runs::Recorder};

/// Records a deed, and waits until it is.
pub(super) fn record(recorder: &Recorder, by: &Actor, body: EventBody) -> Result<(), ApiRefusal> {
    let recorded = recorder.record(by.clone(), body);
    recorded.map_err(|error| ApiRefusal::internal(error_chain(&error)))
}

impl Api {
    /// The same for several, one after the other.
    pub(super) async fn record(&self, by: Actor, bodies: Vec<EventBody>) -> Result<(), ApiRefusal> {
        let recorder = Arc::clone(&self.recorder);
        let recorded = tokio::task::spawn_blocking(move || {
            bodies.into_iter().try_for_each(|body| record(&recorder, &by, body))
        });
        recorded.await.map_err(ApiRefusal::internal)?
    }
}
