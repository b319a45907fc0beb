//! What services a directory wants, as control takes them.

use hornero_model::{Digest, ImageName, ServiceSpec};
use hornero_spec::Spec;

use crate::{
    command::{
        configuration::{self, Kept},
        named,
    },
    failure::Failure,
};

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
