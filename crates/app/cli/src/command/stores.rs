//! The image store of a home.

use std::path::Path;

use hornero_store::Store;

use crate::failure::{Failure, exit};

/// The store of a home, made where it is missing.
pub fn store(home: &Path) -> Result<Store, Failure> {
    hornero_home::prepare(home).map_err(|error| match error.code() {
        Some(_) => error.into(),
        None => Failure::of(&error).hint("`--home` or HORNERO_HOME says where it is"),
    })?;
    Ok(Store::open(home.join("store"))?)
}

/// The store of a home that is there already: a mistyped home is no empty one.
pub fn known_store(home: &Path) -> Result<Store, Failure> {
    if !home.join("store").is_dir() {
        let text = format!("no images at `{}`", home.display());
        return Err(Failure::new(exit::NO_SUCH_OBJECT, text)
            .hint("`--home` or HORNERO_HOME says where they are; `hornero build` makes some"));
    }
    store(home)
}
