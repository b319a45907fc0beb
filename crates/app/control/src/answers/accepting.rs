//! Whether what is asked for can be begun: its image is there, and somebody who is trusted vouches for it.

use std::sync::Arc;

use hornero_model::{ReleaseNumber, ServiceName, ServiceSpec, error_chain};
use hornero_rollout::last_proven;
use hornero_store::{Store, StoreLease};
use hyper::StatusCode;

use crate::{answer::ApiRefusal, api::Api, provenance::Denied, start::Starter};

/// Whether what a service's servers are made from is not in the store.
fn is_gone(store: &Store, spec: &ServiceSpec) -> bool {
    !store.has_image(&spec.image)
        || spec.configuration.is_some_and(|configuration| !store.has_image(&configuration))
}

impl Api {
    /// Holds collections off, waiting for one that is under way. Taken before anything is asked of an image, so that
    /// what was found whole stays so until the ledger says that it is needed. Clients hold leases of their own, which
    /// exclude only collections as well.
    pub async fn lease(&self) -> Result<StoreLease, ApiRefusal> {
        let adapters = Arc::clone(&self.adapters);
        let lease = tokio::task::spawn_blocking(move || adapters.starter.store().lease());
        lease
            .await
            .map_err(ApiRefusal::internal)?
            .map_err(|error| ApiRefusal::internal(error_chain(&error)))
    }

    /// Refuses images that nobody who is trusted vouches for, before anything is done with them.
    pub async fn accept(
        &self,
        services: Vec<ServiceSpec>,
        check: fn(&Starter, &[ServiceSpec]) -> Result<(), Denied>,
    ) -> Result<(), ApiRefusal> {
        let store = self.adapters.starter.store();
        if let Some(gone) = services.iter().find(|it| is_gone(store, it)) {
            let text = format!(
                "the image of `{}`, `{}`, or its configuration is no longer in this home",
                gone.name,
                gone.image.short()
            );
            let hint = format!(
                "`hornero history {}` lists other releases; `hornero up` bakes what is declared",
                gone.name
            );
            return Err(ApiRefusal::new(StatusCode::CONFLICT, "image_gone", text).hint(hint));
        }
        let lost = |spec: &ServiceSpec| {
            let secret = self.adapters.starter.lost_secret(spec)?;
            Some((spec.name.clone(), secret.name.clone(), secret.version.clone()))
        };
        if let Some((service, name, version)) = services.iter().find_map(lost) {
            let text =
                format!("secret `{name}` of `{service}` has no version `{version}` any more");
            let hint =
                format!("`hornero up` takes the newest; `hornero secret set {name}` sets one");
            return Err(ApiRefusal::new(StatusCode::CONFLICT, "secret_missing", text).hint(hint));
        }
        let adapters = Arc::clone(&self.adapters);
        let accepted = tokio::task::spawn_blocking(move || check(&adapters.starter, &services));
        accepted.await.map_err(ApiRefusal::internal)?.map_err(|denied| {
            ApiRefusal::new(StatusCode::CONFLICT, denied.code, denied.to_string()).hint(denied.hint)
        })
    }

    /// What a rollback leads back to; nothing where it can't begin, which the driver tells why.
    pub async fn target(
        &self,
        service: ServiceName,
        to: Option<ReleaseNumber>,
    ) -> Result<Vec<ServiceSpec>, ApiRefusal> {
        self.ask(move |driver| {
            let world = driver.world();
            let to = to.or_else(|| last_proven(world, &service));
            let release = world.services.get(&service).zip(to);
            let release = release.and_then(|(service, to)| service.releases.get(&to));
            release.map(|release| release.spec.clone()).into_iter().collect()
        })
        .await
    }
}
