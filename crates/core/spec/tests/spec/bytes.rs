//! Files that are no HCL, or too much of it.

use expect_test::expect;
use hornero_spec::{ErrorCode, limits};

use crate::check::{check, check_bytes, read};

#[test]
fn what_is_no_hcl() {
    check(
        "image \"a\" {\n  debian = \"bookworm\"\n",
        expect![[r#"
        error[syntax]: this is not HCL: invalid block body; expected `}`, newline or identifier
         --> hornero.hcl:2:22
          |
        2 |   debian = "bookworm"
          |                      ^
          |
          = hint: the file ends in the middle: is a `}` or a quote missing?

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check(
        "image \"a\" { debian = \"bookworm\" user = \"x\" }\n",
        expect![[r#"
        error[syntax]: this is not HCL: invalid block body; expected `}`, newline or identifier
         --> hornero.hcl:1:33
          |
        1 | image "a" { debian = "bookworm" user = "x" }
          |                                 ^
          |
          = hint: a one-line block holds one attribute: put each attribute on a line of its own

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check(
        "image \"a\" {\n  debian = 'bookworm'\n}\n",
        expect![[r#"
        error[syntax]: this is not HCL: invalid expression; expected `"`, `[`, `{`, `-`, `!`, `(`, `_`, `<`, letter or digit
         --> hornero.hcl:2:12
          |
        2 |   debian = 'bookworm'
          |            ^
          |
          = hint: strings are written in double quotes

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check(
        "image \"a\" {\n  debian = \"bookworm\n}\n",
        expect![[r#"
            error[syntax]: this string has no closing quote on its line
             --> hornero.hcl:2:12
              |
            2 |   debian = "bookworm
              |            ^^^^^^^^^
              |
              = hint: a string ends where it began: write longer texts as `<<EOT`, lines, `EOT`

            there is 1 error in `hornero.hcl`
        "#]],
    );
    check(
        "image \"a\" {\n  debian = \"bookworm\n  packages = [\"nginx\"]\n}\n",
        expect![[r#"
        error[syntax]: this string has no closing quote on its line
         --> hornero.hcl:2:12
          |
        2 |   debian = "bookworm
          |            ^^^^^^^^^
          |
          = hint: a string ends where it began: write longer texts as `<<EOT`, lines, `EOT`

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check(
        "image \"a\" {\n  packages = [\"nginx, \"curl\"]\n  debian = \"bookworm\"\n}\n",
        expect![[r#"
            error[syntax]: this string has no closing quote on its line
             --> hornero.hcl:2:28
              |
            2 |   packages = ["nginx, "curl"]
              |                            ^^
              |
              = hint: a string ends where it began: write longer texts as `<<EOT`, lines, `EOT`

            there is 1 error in `hornero.hcl`
        "#]],
    );
    check(
        "image \"a\" {\n  run = [\"a\" \"b\"]\n}\n",
        expect![[r#"
        error[syntax]: this is not HCL: expected `]`
         --> hornero.hcl:2:14
          |
        2 |   run = ["a" "b"]
          |              ^

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check(
        "{}",
        expect![[r#"
        error[syntax]: this is not HCL: unexpected token
         --> hornero.hcl:1:1
          |
        1 | {}
          | ^

        there is 1 error in `hornero.hcl`
    "#]],
    );
}

#[test]
fn empty_files() {
    check(
        "",
        expect![[r#"
        error[syntax]: the file is empty
         --> hornero.hcl:1:1
          |
        1 |
          | ^
          |
          = hint: declare at least an image: `image "base" { debian = "bookworm" }`

        there is 1 error in `hornero.hcl`
    "#]],
    );
    for blank in [" \n\t\n", "\n", "\u{feff}"] {
        assert_eq!(read(blank).unwrap_err().iter().next().unwrap().message, "the file is empty");
    }
    check(
        "# nothing yet\n",
        expect![[r#"
        error[syntax]: the file holds nothing but comments
         --> hornero.hcl:1:1
          |
        1 | # nothing yet
          | ^
          |
          = hint: declare at least an image: `image "base" { debian = "bookworm" }`

        there is 1 error in `hornero.hcl`
    "#]],
    );
}

#[test]
fn a_file_of_ten_megabytes() {
    check_bytes(
        &vec![b'#'; 10 << 20],
        expect![[r#"
        error[too-large]: the file is 10485760 bytes long; at most 1048576 are allowed
         --> hornero.hcl:1:1
          |
        1 |
          | ^
          |
          = hint: is this the file you meant? Contents belong in files that `copy` names

        there is 1 error in `hornero.hcl`
    "#]],
    );
    // Just within the limit, it is read.
    let mut text = String::from("image \"a\" { debian = \"bookworm\" }\n#");
    text.push_str(&"x".repeat(limits::FILE_BYTES - text.len()));
    assert_eq!(read(&text).unwrap().images.len(), 1);
}

#[test]
fn bytes_that_are_not_utf8() {
    check_bytes(
        b"image \"a\" {\n  debian = \"b\xff\xfe\"\n}\n",
        expect![[r#"
        error[syntax]: the file is not UTF-8: byte 0xff at offset 25
         --> hornero.hcl:2:14
          |
        2 |   debian = "b��"
          |              ^
          |
          = hint: save the file as UTF-8

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check_bytes(
        b"\xff",
        expect![[r#"
        error[syntax]: the file is not UTF-8: byte 0xff at offset 0
         --> hornero.hcl:1:1
          |
        1 | �
          | ^
          |
          = hint: save the file as UTF-8

        there is 1 error in `hornero.hcl`
    "#]],
    );
    // A byte order mark is none of the file's text.
    assert!(read("\u{feff}image \"a\" { debian = \"bookworm\" }\n").is_ok());
}

#[test]
fn nesting_too_deep() {
    let text = format!("image \"a\" {{\n  run = {}{}\n}}\n", "[".repeat(100), "]".repeat(100));
    check(
        &text,
        expect![[r#"
        error[too-large]: this nests too deep: invalid nesting depth; expected at most 64 nested levels
         --> hornero.hcl:2:73
          |
        2 |   run = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]...
          |                                                                         ^

        there is 1 error in `hornero.hcl`
    "#]],
    );
    let long = 200_000;
    for text in [
        format!("a = {}", "(".repeat(long)),
        format!("a = {}", "[".repeat(long)),
        format!("a = {}", "{a=".repeat(long)),
        format!("a = {}1", "!".repeat(long)),
        format!("a = {}1", "-".repeat(long)),
        format!("a = {}1", "x ? 1 : ".repeat(long / 4)),
        format!("a = 1{}", " + 1".repeat(long)),
        format!("a = {}", "f(".repeat(long)),
        format!("a = x{}", "[x".repeat(long)),
        format!("a = \"{}", "${\"".repeat(long)),
        format!("a = \"{}", "%{if true}".repeat(long / 2)),
        format!("a = {}", "[for x in ".repeat(long / 4)),
        "a {\n".repeat(long),
    ] {
        assert!(read(&text).is_err());
    }
    // Long is not deep.
    assert!(read(&format!("a = x{}", ".b".repeat(long))).is_err());
    assert!(read(&format!("a = x{}", "[0]".repeat(long))).is_err());
}

#[test]
fn work_without_end() {
    let pairs = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
    let nested = (0..20).map(|depth| format!("[for x{depth} in {pairs} : ")).collect::<String>();
    let text = format!(
        "image \"a\" {{\n  debian = \"bookworm\"\n  run = {nested}1{}\n}}\n",
        "]".repeat(20)
    );
    check(
        &text,
        expect![[r#"
        error[too-large]: evaluating this takes more work than a `hornero.hcl` may
         --> hornero.hcl:3:873
          |
        3 | ...x18 in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] : [for x19 in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] : 1]]]]]]]]]]]]]]]]]]]]
          |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = hint: all expressions together may take 1000000 steps and make 16777216 bytes of text

        there is 1 error in `hornero.hcl`
    "#]],
    );
    // A small text whose value holds two to the power of twenty elements by sharing them.
    let doubled = (0..20).fold("1".to_owned(), |inner, depth| {
        format!("[for y{depth} in [{inner}] : [y{depth}, y{depth}]]")
    });
    for expression in [
        format!("{doubled} == {doubled}"),
        format!("flatten({doubled})"),
        format!("length({doubled})"),
        doubled,
    ] {
        let errors = read(&format!("variable \"v\" {{ default = {expression} }}")).unwrap_err();
        assert_eq!(errors.iter().next().unwrap().code, ErrorCode::TooLarge, "{errors}");
    }
    let long = format!(
        "variable \"v\" {{ default = \"{}\" }}\nimage \"a\" {{\n  debian = \"bookworm\"\n  run = [\"{}\"]\n}}\n",
        "x".repeat(100_000),
        "${var.v}".repeat(1_000)
    );
    let errors = read(&long).unwrap_err();
    assert_eq!(errors.iter().next().unwrap().code, ErrorCode::TooLarge);
}

#[test]
fn too_many() {
    let keys = (0..limits::OBJECT_KEYS + 1).map(|key| format!("k{key} = 1, ")).collect::<String>();
    let object = format!("image \"a\" {{\n  debian = \"bookworm\"\n  env = {{ {keys} }}\n}}\n");
    let errors = read(&object).unwrap_err();
    assert_eq!(errors.iter().next().unwrap().message, "an object has more than 8192 keys");
    let blocks = "image \"a\" { debian = \"bookworm\" }\n".repeat(limits::BLOCKS + 5);
    let errors = read(&blocks).unwrap_err();
    assert_eq!(errors.iter().count(), limits::ERRORS);
    assert_eq!(errors.iter().count() + errors.left_out(), limits::BLOCKS);
    let list = format!(
        "image \"a\" {{\n  debian = \"bookworm\"\n  run = [{}]\n}}\n",
        "\"x\",".repeat(limits::LIST + 1)
    );
    assert_eq!(read(&list).unwrap_err().iter().next().unwrap().code, ErrorCode::TooLarge);
}

#[test]
fn errors_are_data_too() {
    let errors = read("image \"a\" {\n  # äöü\n  pakages = [] # ß\n}\n").unwrap_err();
    expect![[r#"
        [
          {
            "code": "missing-key",
            "message": "image `a` needs `debian` or `from`",
            "file": "hornero.hcl",
            "line": 1,
            "column": 1,
            "hint": "write `debian = \"bookworm\"`, or `from = image.NAME` for one on another image"
          },
          {
            "code": "unknown-key",
            "message": "image `a` has no key `pakages`",
            "file": "hornero.hcl",
            "line": 3,
            "column": 3,
            "hint": "did you mean `packages`?"
          }
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&errors.iter().collect::<Vec<_>>()).unwrap());
    let error = errors.iter().next().unwrap();
    expect!["hornero.hcl:1:1: image `a` needs `debian` or `from`"].assert_eq(&error.to_string());
    assert!(errors.render(true).contains('\u{1b}'));
    assert!(!errors.render(false).contains('\u{1b}'));
}
