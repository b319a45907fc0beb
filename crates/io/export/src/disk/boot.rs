//! The one file that firmware starts: stub, kernel, initramfs and command line in one (UAPI specification 5).

use hornero_store::StoreError;

use crate::{ExportError, init_config::Config, launch, work::ExportWork};

use super::{
    cpio::Archive,
    kernel::{self, Kernel},
    machine::HERE,
    pe,
};

pub(super) fn unified_image(
    work: &ExportWork<'_>,
    kernel: &Kernel,
    config: Config,
) -> Result<Vec<u8>, ExportError> {
    let stub = kernel::read_needed(work, HERE.stub, "starts the kernel", "systemd-boot-efi")?;
    let arguments = arguments(&work.options.kernel_arguments)?;
    let release = match work.store.read_tree_file(work.tree, "/etc/os-release") {
        Ok(bytes) => bytes,
        Err(StoreError::NoPath { .. }) => b"ID=linux\nNAME=Linux\n".to_vec(),
        Err(error) => return Err(error.into()),
    };
    let initramfs = initramfs(kernel, &config);
    let sections: [(&str, &[u8]); 5] = [
        (".osrel", &release),
        (".cmdline", arguments.as_bytes()),
        (".uname", kernel.release.as_bytes()),
        (".linux", &kernel.image),
        (".initrd", &initramfs),
    ];
    pe::with_sections(&stub, &sections)
        .map_err(|reason| ExportError::Unusable { path: HERE.stub.into(), reason: reason.into() })
}

fn arguments(more: &[String]) -> Result<String, ExportError> {
    let mut arguments = HERE.arguments.to_owned();
    for word in more {
        if word.is_empty()
            || word.chars().any(|letter| letter.is_whitespace() || letter.is_control())
        {
            return Err(ExportError::KernelArgument(word.clone()));
        }
        arguments.push(' ');
        arguments.push_str(word);
    }
    Ok(arguments)
}

fn initramfs(kernel: &Kernel, config: &Config) -> Vec<u8> {
    let mut archive = Archive::default();
    for path in ["dev", "modules", "proc", "root", "sys"] {
        archive.directory(path);
    }
    // The first process's input and output, before anything is mounted.
    archive.char_device("dev/console", 5, 1);
    for module in &kernel.modules {
        archive.file(module.place.trim_start_matches('/'), 0o400, &module.bytes);
    }
    archive.file("init", 0o500, &launch::program(config));
    archive.finish()
}
