//! Makes a signed archive of two small packages around one static program: what the fixtures of homes are baked from.

use std::{env, fs, path::Path};

use hornero_archive::{Archive, Package};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [directory, program] = arguments.as_slice() else {
        panic!("usage: small_archive DIRECTORY PROGRAM");
    };
    let program = fs::read(program).unwrap();
    let mut archive = Archive::new(Path::new(directory));
    let shell = Package::new("shell", "1")
        .essential()
        .file("usr/bin/sh", 0o755, program.clone())
        .file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\nwww:x:33:34::/:/bin/sh\n")
        .file("etc/group", 0o644, "root:x:0:\nwww:x:34:\n")
        .file("srv/README", 0o644, "pages\n");
    archive.put(shell);
    archive.put(Package::new("server", "1.0").depends("shell").file(
        "usr/bin/server",
        0o755,
        program,
    ));
    archive.publish();
}
