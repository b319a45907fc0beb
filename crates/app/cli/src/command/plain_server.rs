//! The server of an image that no service describes.

use hornero_bake::BakeRecord;
use hornero_model::{Digest, ImageName, Resources, ServiceName, ServiceSpec};
use hornero_store::Store;

use crate::failure::{Failure, exit};

/// A server of nothing but an image, as that of a service is described; it has the name of its image.
pub fn of_image(image_name: &ImageName, image: Digest) -> Result<ServiceSpec, Failure> {
    let name: ServiceName = image_name.as_str().parse().map_err(|_| {
        Failure::new(exit::FAILED, format!("image `{image_name}` has no service to be run as"))
    })?;
    let resources = Resources { memory_bytes: 1 << 30, cpu_millis: 2_000, pids: 1_024 };
    Ok(ServiceSpec::of_image(name, image_name.clone(), image, resources))
}

/// The name that an image was baked under; `image` where it was baked elsewhere.
pub fn name_of(store: &Store, image: &Digest) -> Result<ImageName, Failure> {
    let record = BakeRecord::of(store, image).map_err(Failure::from)?;
    match record {
        Some(record) => Ok(record.name),
        None => ImageName::new("image").map_err(|error| Failure::of(&error)),
    }
}
