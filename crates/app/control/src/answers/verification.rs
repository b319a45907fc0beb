//! Whether what runs equals its image.

use std::sync::Arc;

use hornero_api::message::VerifyRequest;
use hornero_driver::Driver;
use hornero_model::Depth;

use crate::{
    answer::{Answer, ApiRefusal, json},
    api::{Api, not_found},
    verify,
};

impl Api {
    /// Compares what runs with its images.
    pub async fn verify(&self, wanted: VerifyRequest) -> Answer {
        let VerifyRequest { service, full } = wanted;
        let (only, others) = (service.clone(), service.is_none());
        let known = move |driver: &Driver| {
            let services = driver.world().services.values();
            let asked = services.filter(|one| match &only {
                Some(only) => one.name == *only,
                None => !one.removed,
            });
            asked.map(|service| service.name.clone()).collect::<Vec<_>>()
        };
        let services = self.ask(known).await?;
        if let (Some(name), true) = (&service, services.is_empty()) {
            return Err(not_found("service", name.as_str()));
        }
        let engine = Arc::clone(&self.engine);
        let depth = if full { Depth::Full } else { Depth::Fast };
        let looked = self.look_long(move || {
            let asked = verify::Asked { services: &services, others };
            verify::run(&*engine, asked, depth)
        });
        json(&looked.await?.map_err(|error| ApiRefusal::internal(format!("{error:#}")))?)
    }
}
