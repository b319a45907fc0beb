//! Images that an older Hornero wrote are still read: `format-1` has one, compressed in each way.
//!
//! Its four layers make two blobs, the last of which hides a part of the first; two pairs of files are equal.

mod support;

use std::path::Path;

use hornero_oci::{Quiet, pull_layout};
use support::Home;

const IMAGE: &str = "sha256:831e6930740e6a18ea5a5b55244b043feb26d57782f5e21438eb3b3830a5c479";

#[test]
fn an_image_of_format_1_comes_in_as_it_went_out() {
    let layout = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format-1");
    for compression in ["none", "gzip", "zstd"] {
        let home = Home::new();
        let pulled = pull_layout(&home.store, &layout, Some(compression), &Quiet);
        if cfg!(not(target_arch = "x86_64")) {
            assert!(pulled.unwrap_err().to_string().contains("linux/amd64"));
            continue;
        }
        let pulled = pulled.unwrap();
        assert_eq!((pulled.image, pulled.foreign), (IMAGE.parse().unwrap(), false));
        assert_eq!((pulled.layers_moved, pulled.contents_moved), (4, 5));
        home.store.verify_for_start(&pulled.image).unwrap();
        let read = |path| home.store.read_file(&pulled.image, path).unwrap();
        assert_eq!(read("etc/version"), b"2\n");
        assert_eq!(read("etc/twin"), b"more\n");
        assert_eq!(read("bin/twin"), [7; 20_000]);
        assert!(home.store.read_file(&pulled.image, "etc/more").is_err());
        let record = home.store.attachment(&pulled.image, "bake").unwrap();
        assert_eq!(record.unwrap(), b"{\"record\":1}");
        let below = home.store.image(&pulled.image).unwrap().layers[1];
        let below = home.store.attachment(&below, "bake.00ff").unwrap();
        assert_eq!(below.unwrap(), b"of the image below");
    }
}
