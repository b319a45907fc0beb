//! Measures export and pull of an image of this machine's own packages: `transport DIR [PACKAGE…]`.
//!
//! Without packages it takes every installed one of the priorities required, important and standard. Layouts are left
//! in `DIR` for other programs to be measured with.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{env, path::PathBuf, process::Command, time::Instant};

use hornero_model::ImageConfig;
use hornero_oci::{Compression, PackOptions, Quiet, export_layout, pull_layout};
use hornero_store::{ImageManifest, Store};
use support::{package, put_layers, run};

fn main() {
    let mut arguments = env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("the first argument is a directory"));
    let mut packages: Vec<String> = arguments.collect();
    if packages.is_empty() {
        let list = run(Command::new("dpkg-query").args(["-W", "-f=${Package} ${Priority}\n"]));
        let base = |line: &&str| {
            ["required", "important", "standard"].contains(&line.split(' ').nth(1).unwrap_or(""))
        };
        packages =
            list.lines().filter(base).map(|line| line.split(' ').next().unwrap().into()).collect();
    }
    let store = Store::open(dir.join("store")).unwrap();
    let layers = put_layers(&store, |ingest| {
        packages.iter().map(|name| package(ingest, name, &|_, bytes| bytes)).collect()
    });
    let image = store.put_image(&ImageManifest::new(layers, ImageConfig::default())).unwrap();
    let bytes: u64 = store.tree(&image).unwrap().contents().map(|(_, size)| size).sum();
    println!("{} packages, {bytes} bytes of contents", packages.len());
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let time = |out: &str, options: &PackOptions| {
            let begun = Instant::now();
            let done =
                export_layout(&store, &image, &dir.join(out), "image", options, &Quiet).unwrap();
            (begun.elapsed(), done.bytes)
        };
        let name = format!("{compression:?}");
        let plain = PackOptions { compression, cache: None };
        let (cold, size) = time(&name, &plain);
        let cached = PackOptions { compression, cache: Some(dir.join("cache")) };
        time(&format!("{name}-first"), &cached);
        let (warm, _) = time(&format!("{name}-again"), &cached);
        let other = Store::open(dir.join(format!("{name}-store"))).unwrap();
        let begun = Instant::now();
        let pulled = pull_layout(&other, &dir.join(&name), None, &Quiet).unwrap();
        println!(
            "{name}: {size} bytes, export {cold:.2?}, with everything kept {warm:.2?}, pull {:.2?} of {} contents, {} bytes",
            begun.elapsed(),
            pulled.contents_moved,
            pulled.bytes_moved
        );
    }
}
