//! What running servers have written to memory that goes with them.

use std::{collections::BTreeMap, sync::Arc};

use hornero_api::message::{WrittenReport, WrittenService};
use hornero_engine_port::{Engine, EngineError, InstanceStatus};
use hornero_model::{ServiceName, WrittenInstance};

use super::records::decoded;
use crate::{
    answer::{Answer, ApiRefusal, json},
    api::Api,
};

impl Api {
    /// Lists what running servers have written, those of the services that are named; of all where none is.
    pub async fn written(&self, query: &str) -> Answer {
        let named: Vec<String> = decoded(query, "service").collect();
        let engine = Arc::clone(&self.engine);
        let looked = self.look_long(move || look(&*engine, &named)).await?;
        json(&looked.map_err(ApiRefusal::internal)?)
    }
}

fn look(engine: &dyn Engine, named: &[String]) -> Result<WrittenReport, EngineError> {
    let mut services: BTreeMap<ServiceName, Vec<WrittenInstance>> = BTreeMap::new();
    for instance in engine.list()? {
        let runs = matches!(instance.status, InstanceStatus::Running(_));
        let is_meant =
            named.is_empty() || named.iter().any(|name| *name == instance.service.as_str());
        if runs
            && is_meant
            && let Some(written) = engine.written(&instance.id)?
        {
            services.entry(instance.service).or_default().push(written);
        }
    }
    let one = |(name, instances)| WrittenService { name, instances };
    Ok(WrittenReport { services: services.into_iter().map(one).collect() })
}
