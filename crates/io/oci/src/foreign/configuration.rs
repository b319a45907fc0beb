//! What a foreign configuration means here.

use hornero_model::ImageConfig;

use crate::{OciError, Result, document::Runtime};

/// What a foreign configuration means here.
pub(crate) fn config(runtime: &Runtime) -> Result<ImageConfig> {
    // It is named in what is said of it.
    if runtime.user.contains(char::is_control) {
        let reason = "the name of its user has letters that no name has";
        return Err(OciError::refused("configuration of the image", reason));
    }
    let parts = [&runtime.entrypoint, &runtime.cmd].into_iter().flatten();
    // Podman's and Docker's images have such without a value, which is then empty; one without a name is none.
    let env = runtime.env.iter().flatten().map(|line| line.split_once('=').unwrap_or((line, "")));
    let env = env.filter(|(name, _)| !name.is_empty());
    Ok(ImageConfig {
        user: runtime.user.clone(),
        command: parts.flatten().cloned().collect(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        workdir: match runtime.working_dir.as_str() {
            "" => String::new(),
            absolute if absolute.starts_with('/') => absolute.to_owned(),
            relative => format!("/{relative}"),
        },
        ..ImageConfig::default()
    })
}
