//! Measures the store: ingest of many small files, verification before a start, making a metadata image.
//!
//! `cargo run --release -p hornero-store --example store_speed -- DIR [FILES]`; DIR must not exist.

use std::{
    env, fs, io,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use hornero_model::ImageConfig;
use hornero_store::{CaptureOptions, DevicePolicy, ImageManifest, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args_os().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("name a directory that does not exist")?);
    let files: usize = match arguments.next() {
        Some(count) => count.to_str().ok_or("not a number")?.parse()?,
        None => 5000,
    };
    fs::create_dir(&dir)?;
    let measured = measure(&dir, files);
    fs::remove_dir_all(&dir)?;
    measured
}

fn measure(dir: &std::path::Path, files: usize) -> Result<(), Box<dyn std::error::Error>> {
    let tree = dir.join("tree");
    write_tree(&tree, files)?;
    let tar = {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_dir_all("usr", &tree)?;
        builder.into_inner()?
    };
    let store = Store::open(dir.join("store"))?;
    let options = CaptureOptions { max_mtime: 1_700_000_000, devices: DevicePolicy::Refuse };

    let begun = Instant::now();
    let ingest = store.ingest()?;
    let layer = ingest.layer_from_tar("tree.tar", tar.as_slice(), &options.into())?;
    report("tar, write", begun);
    let layer = ingest.put_layer(&layer)?;
    report("tar, write and layer", begun);
    let done = ingest.finish()?;
    report("tar, write, sync and publish", begun);
    println!("{done:?}");

    let begun = Instant::now();
    let image = store.put_image(&ImageManifest::new(vec![layer], ImageConfig::default()))?;
    report("image with metadata", begun);

    let begun = Instant::now();
    let ingest = store.ingest()?;
    ingest.capture_directory(&tree, &options)?;
    ingest.finish()?;
    report("capture again, nothing new", begun);

    let begun = Instant::now();
    println!("{:?}", store.verify_for_start(&image)?);
    report("first verification", begun);
    thread::sleep(Duration::from_millis(50));
    store.verify_for_start(&image)?;
    for _ in 0..5 {
        let begun = Instant::now();
        store.verify_for_start(&image)?;
        report("verification", begun);
    }
    let fresh = Store::open(store.dir())?;
    let begun = Instant::now();
    fresh.verify_for_start(&image)?;
    report("verification by a fresh process", begun);
    fs::remove_file(store.dir().join("verified"))?;
    let fresh = Store::open(store.dir())?;
    let begun = Instant::now();
    println!("{:?}", fresh.verify_for_start(&image)?);
    report("verification without a record", begun);

    let begun = Instant::now();
    let tree = fresh.tree(&image)?;
    report("tree from layers", begun);
    let begun = Instant::now();
    let mut bytes = Vec::new();
    hornero_store::erofs::write_image(
        &tree,
        &hornero_store::erofs::Content::Redirected,
        &mut bytes,
    )?;
    report(&format!("metadata image of {} bytes", bytes.len()), begun);
    Ok(())
}

fn report(what: &str, begun: Instant) {
    println!("{:>10.2} ms  {what}", begun.elapsed().as_secs_f64() * 1000.0);
}

/// Sizes as in Debian packages: most files small, a few large.
fn write_tree(tree: &std::path::Path, files: usize) -> io::Result<()> {
    for index in 0..files {
        let dir = tree.join(format!("dir-{}", index / 50));
        fs::create_dir_all(&dir)?;
        let size = match index % 100 {
            0 => 300_000,
            1..20 => 30_000,
            _ => 3_000,
        };
        let content: Vec<u8> = (0..size).map(|at: usize| (at * (index + 1)) as u8).collect();
        fs::write(
            dir.join(format!("file-{index}")),
            [index.to_string().into_bytes(), content].concat(),
        )?;
    }
    Ok(())
}
