//! The server of an image that no service describes.

use hornero_bake::BakeRecord;
use hornero_model::{
    Digest, ImageName, Keep, Millis, Resources, RolloutPolicy, ServiceKind, ServiceName,
    ServiceSpec, Strategy,
};
use hornero_store::Store;

use crate::failure::{Failure, exit};

/// A server of nothing but an image, as that of a service is described; it has the name of its image.
pub fn of_image(image_name: &ImageName, image: Digest) -> Result<ServiceSpec, Failure> {
    let name: ServiceName = image_name.as_str().parse().map_err(|_| {
        Failure::new(exit::FAILED, format!("image `{image_name}` has no service to be run as"))
    })?;
    Ok(ServiceSpec {
        name,
        image_name: image_name.clone(),
        image,
        base: None,
        kind: ServiceKind::Stateless,
        instances: 1,
        ports: Vec::new(),
        health: None,
        routes: Vec::new(),
        rollout: RolloutPolicy {
            strategy: Strategy::BlueGreen,
            drain_timeout: Millis(0),
            keep_warm: Millis(0),
            watch: Millis(0),
        },
        resources: Resources { memory_bytes: 1 << 30, cpu_millis: 2_000, pids: 1_024 },
        egress: false,
        depends_on: Vec::new(),
        max_age: None,
        trust: Vec::new(),
        keep: Keep::default(),
        stop_signal: None,
        stop_grace: None,
        env: Default::default(),
        config: Vec::new(),
        configuration: None,
        secrets: Vec::new(),
        budget: None,
    })
}

/// The name that an image was baked under; `image` where it was baked elsewhere.
pub fn name_of(store: &Store, image: &Digest) -> Result<ImageName, Failure> {
    let record = BakeRecord::of(store, image).map_err(Failure::from)?;
    match record {
        Some(record) => Ok(record.name),
        None => ImageName::new("image").map_err(|error| Failure::of(&error)),
    }
}
