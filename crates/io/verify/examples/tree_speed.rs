//! How long comparing a directory takes: `tree_speed DIR [RUNS]`, for work on this crate. The bench compares with peers.

use std::{path::PathBuf, time::Instant};

use hornero_model::ImageConfig;
use hornero_store::{CaptureOptions, DevicePolicy, ImageManifest, Store};
use hornero_verify::{Depth, verify_tree};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let root = PathBuf::from(arguments.next().ok_or("which directory?")?);
    let runs = arguments.next().and_then(|runs| runs.to_str()?.parse().ok()).unwrap_or(5);
    let directory = tempfile::tempdir()?;
    let store = Store::open(directory.path().join("store"))?;
    let ingest = store.ingest()?;
    let options = CaptureOptions { max_mtime: u64::MAX, devices: DevicePolicy::Keep };
    let layer = ingest.capture_directory(&root, &options)?;
    let layer = ingest.put_layer(&layer)?;
    ingest.finish()?;
    let image = store.put_image(&ImageManifest::new(vec![layer], ImageConfig::default()))?;
    for depth in [Depth::Fast, Depth::Full] {
        for _ in 0..runs {
            // Opened anew, as a command does: nothing of the image is in memory.
            let began = Instant::now();
            let store = Store::open(directory.path().join("store"))?;
            let report = verify_tree(&store, &image, &root, depth, &[])?;
            println!(
                "{depth:?}: {:.1} ms, {} findings, {:?}",
                began.elapsed().as_secs_f64() * 1e3,
                report.findings.len(),
                report.checked
            );
        }
    }
    Ok(())
}
