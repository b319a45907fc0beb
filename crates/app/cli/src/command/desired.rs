//! What services a directory wants, as control takes them.

use hornero_model::{Digest, ImageName, ServiceKind, ServiceSpec};
use hornero_spec::Spec;

use crate::{
    command::{
        configuration::{self, Kept},
        named,
    },
    failure::{Failure, exit},
};

/// Volumes can be declared, but nothing here can move one to a new server yet: better said before than half done.
pub fn refuse_stateful(spec: &Spec) -> Result<(), Failure> {
    let stateful = spec
        .services
        .values()
        .find(|service| service.kind == ServiceKind::Stateful || !service.mounts.is_empty());
    match stateful {
        None => Ok(()),
        Some(service) => Err(Failure::new(
            exit::FAILED,
            format!("service `{}` is stateful, and this version rolls out stateless services only", service.name),
        )
        .hint("nothing was changed; run the database as you do today and let its clients be services here")),
    }
}

/// The services in the order they go, those without a digest left out; without the store, what their images are made on is
/// left out too.
pub fn specs(
    kept: Option<Kept<'_>>,
    spec: &Spec,
    digest_of: impl Fn(&ImageName) -> Option<Digest>,
) -> Result<Vec<ServiceSpec>, Failure> {
    let order = spec.order().services;
    let services = order.iter().filter_map(|name| spec.services.get(name));
    services
        .filter_map(|service| Some((service, digest_of(&service.image)?)))
        .map(|(service, image)| {
            let base = kept.map(|kept| named::base_of(kept.store, &image)).transpose()?.flatten();
            configuration::complete(
                kept,
                service,
                ServiceSpec { base, ..service.clone().into_service_spec(image) },
            )
        })
        .collect()
}
