//! Builds the init of exported disks and containers: a static program that Hornero carries inside itself.

use std::{env, path::PathBuf, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=init");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("init");
    let own = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let mut rustc = Command::new(env::var_os("RUSTC").expect("cargo sets it"));
    rustc
        .args(["--edition", "2024", "--crate-type", "bin", "--crate-name", "hornero_init"])
        .args(["--target", &env::var("TARGET").expect("cargo sets it")])
        // Nothing of the image is there to link with when it starts.
        .args(["-C", "target-feature=+crt-static", "-C", "relocation-model=static"])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "codegen-units=1"])
        .args(["-C", "strip=symbols"])
        // The same program wherever it is built: it is part of what is exported.
        .arg(format!("--remap-path-prefix={own}=hornero-export"))
        .arg("-o")
        .arg(&out)
        .arg(PathBuf::from(own).join("init/main.rs"));
    let status = rustc.status().expect("rustc can be started");
    assert!(
        status.success(),
        "the init could not be built; it links statically: is the C library's static part there \
         (in Debian it comes with libc6-dev)?"
    );
}
