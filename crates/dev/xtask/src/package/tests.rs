//! How packages are asked for, and that the same source makes the same ones.

use std::process::Command;

use super::*;

fn parsed(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    match parse(&words) {
        Ok(wanted) => format!("{wanted:?}"),
        Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn arguments() {
    expect_test::expect![[r#"
        Some(Wanted { profile: "dist", version: None, sysroot: None, check: false })
        Some(Wanted { profile: "dev", version: Some("0.3.0~next"), sysroot: None, check: true })
        None
        `--version` needs a value
        `../../x` is no version: digits first, then letters, digits, `.`, `+` and `~`
        `1.0-1` is no version: digits first, then letters, digits, `.`, `+` and `~`
        `package` knows no `--quick`"#]]
    .assert_eq(
        &[
            parsed(&[]),
            parsed(&["--profile", "dev", "--version", "0.3.0~next", "--check"]),
            parsed(&["--help"]),
            parsed(&["--version"]),
            parsed(&["--version", "../../x"]),
            parsed(&["--version", "1.0-1"]),
            parsed(&["--quick"]),
        ]
        .join("\n"),
    );
}

#[test]
fn what_a_packed_document_names_is_packed_where_it_says() {
    std::env::set_current_dir(run::root()).unwrap();
    let documents = contents::documents().unwrap();
    let mut links = 0;
    for (path, item) in documents.iter().filter(|(path, _)| path.ends_with(".md")) {
        let text = String::from_utf8(item.bytes.clone()).unwrap();
        let named = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for name in named.filter(|name| !name.is_empty() && !name.contains("://")) {
            let mut there = Path::new(path).parent().unwrap().to_owned();
            for part in Path::new(name).components() {
                match part {
                    std::path::Component::ParentDir => assert!(there.pop()),
                    part => there.push(part),
                }
            }
            let there = there.to_str().unwrap();
            assert!(documents.contains_key(there), "`{path}` names `{name}`, which is not packed");
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
}

#[test]
fn the_same_source_makes_the_same_packages() {
    std::env::set_current_dir(run::root()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("program");
    fs::write(&program, "a program").unwrap();
    let program = program::Program {
        stripped: program.clone(),
        debug: program,
        build_id: "ab12".to_owned(),
        portable: true,
        glibc: linkage::OLDEST_GLIBC,
    };
    let source = Source { version: "1.0".to_owned(), commit: None, epoch: 1_700_000_000 };
    let mut contents = contents::Contents::new();
    for (path, executable, compressed) in [
        ("bin/hornero", true, false),
        ("share/man/man1/hornero.1", false, true),
        ("share/doc/hornero/a", false, false),
    ] {
        let bytes = path.as_bytes().to_vec();
        contents.insert(path.to_owned(), contents::Item { bytes, executable, compressed });
    }
    let packed: Vec<[Vec<u8>; 3]> = ["one", "other"]
        .map(|name| {
            let directory = directory.path().join(name);
            fs::create_dir_all(&directory).unwrap();
            [
                debian::write(&source, &contents, &program, &directory).unwrap(),
                debian::write_symbols(&source, &program, &directory).unwrap(),
                tarball::write(&source, &contents, &directory).unwrap(),
            ]
            .map(|path| fs::read(path).unwrap())
        })
        .into();
    assert!(packed[0] == packed[1], "packages of the same source differ");
}

/// Compiles a program that does nothing, as distributions' compilers do, with further `flags`.
fn compiled(directory: &Path, flags: &[String]) -> PathBuf {
    let (source, program) = (directory.join("nothing.c"), directory.join("nothing"));
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let mut compiler = Command::new("gcc");
    run::check(compiler.args(flags).arg(&source).arg("-o").arg(&program)).unwrap();
    program
}

#[test]
fn programs_that_need_a_newer_c_library_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let program = compiled(directory.path(), &[]);
    let newest = linkage::newest_glibc(&linkage::versions(&program).unwrap());
    // The start of every program has a version of its own since 2.34; this host may be older than that.
    match linkage::check(&program) {
        Ok(()) => assert!(newest <= linkage::OLDEST_GLIBC, "{newest:?}"),
        Err(error) => {
            assert!(newest > linkage::OLDEST_GLIBC, "{newest:?}");
            assert!(error.to_string().contains("GLIBC_"), "{error}");
        }
    }
}

#[test]
fn what_is_linked_with_the_old_c_library_runs_here_too() {
    let root = sysroot::fetch(&run::target_directory().join("package/sysroot")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let program = compiled(directory.path(), &sysroot::linker_flags(&root).unwrap());
    linkage::check(&program).unwrap();
    assert!(linkage::libraries(&program).unwrap().contains(&"libc.so.6".to_owned()));
    run::check(&mut Command::new(&program)).unwrap();
}
