//! What `fmt` makes of `hornero.hcl`, and what it leaves as it is.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::{ErrorCode, canonical};

fn format(text: &str) -> Result<String, crate::Errors> {
    canonical("hornero.hcl", text.as_bytes())
}

#[track_caller]
fn check(text: &str, expected: Expect) {
    let formatted = format(text).expect("it is HCL");
    expected.assert_eq(&formatted);
    assert_eq!(format(&formatted).expect("it is HCL"), formatted, "formatting again changes it");
}

#[test]
fn keys_of_neighbouring_lines_are_in_a_column() {
    check(
        "image \"base\" {\ndebian=\"bookworm\"\n\n      packages = [\"a\"] # why\n  user = \"x\" // who\n}\n",
        expect![[r#"
            image "base" {
              debian = "bookworm"

              packages = ["a"] # why
              user     = "x"   // who
            }
        "#]],
    );
}

#[test]
fn values_over_several_lines_stand_for_themselves() {
    check(
        "a = 1\nlonger_name = [\n\"x\",\n   \"y\", # second\n]\nb = {\nc = 1\nlong = 2\n}\nd = f({\ne = 1\n})\n",
        expect![[r#"
            a = 1
            longer_name = [
              "x",
              "y", # second
            ]
            b = {
              c    = 1
              long = 2
            }
            d = f({
              e = 1
            })
        "#]],
    );
}

#[test]
fn heredocs_and_comments_keep_every_byte() {
    check(
        "run = [<<-END\n   set -e\n     echo   'a = b'   \n   END\n, \"x\"]\n/* a\n     b */\n   # c   \n\n\n",
        expect![[r#"
            run = [<<-END
               set -e
                 echo   'a = b'   
               END
              , "x"]
            /* a
                 b */
            # c
        "#]],
    );
}

#[test]
fn blocks_on_one_line_and_closing_brackets_stay() {
    check(
        "service \"a\" {\nport \"http\" { container=80 }\nhealth{http={port=\"http\"}}\nx = [{\na=1\n},{\nb=2\n}]\n}",
        expect![[r#"
            service "a" {
              port "http" { container = 80 }
              health { http = { port = "http" } }
              x = [{
                a = 1
              }, {
                b = 2
              }]
            }
        "#]],
    );
}

#[test]
fn windows_line_ends_become_ours() {
    check(
        "a = 1 # x\r\n\r\nb = 2\r\n",
        expect![[r#"
        a = 1 # x

        b = 2
    "#]],
    );
}

#[test]
fn it_ends_in_one_line_end() {
    check(
        "# a\n\n\n",
        expect![[r#"
        # a
    "#]],
    );
}

#[test]
fn what_is_no_hcl_is_left_alone() {
    for text in ["image {", "a = \"x", "= 1", "\u{0}"] {
        let errors = format(text).expect_err(text);
        assert_eq!(errors.errors()[0].code, ErrorCode::Syntax, "{text}");
    }
}

/// Expressions and spaces as people type them.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("-2.5".to_owned()),
        Just("\"a ${b.c[0]} # no comment\"".to_owned()),
        Just("true".to_owned()),
        Just("var.name".to_owned()),
        Just("<<-END\n  text {\n  END\n".to_owned()),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let inner2 = inner.clone();
        let inner3 = inner.clone();
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|all| format!("[{}]", all.join(" ,"))),
            prop::collection::vec(inner2, 0..4).prop_map(|all| {
                let keys = all.iter().enumerate().map(|(index, one)| format!("k{index}={one}\n"));
                format!("{{\n{}}}", keys.collect::<String>())
            }),
            (inner3, inner).prop_map(|(one, other)| format!("max( {one},{other} )")),
        ]
    })
}

proptest! {
    #[test]
    fn formatting_twice_is_formatting_once(
        values in prop::collection::vec((value(), "[ \t]{0,3}", prop::bool::ANY), 1..6),
    ) {
        let mut text = String::new();
        for (index, (value, spaces, in_block)) in values.iter().enumerate() {
            let line = format!("{spaces}key{}{spaces}={spaces}{value}", "x".repeat(index));
            let line = if *in_block { format!("block \"b{index}\" {{\n{line}\n}}") } else { line };
            text.push_str(&line);
            text.push_str(" # comment\n");
        }
        // Heredocs in lists and behind comments may be no HCL; what is, must come out whole.
        if let Ok(formatted) = format(&text) {
            prop_assert_eq!(format(&formatted), Ok(formatted.clone()));
        } else {
            prop_assert!(text.parse::<hcl_edit::structure::Body>().is_err(), "{}", text);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}") {
        let _ = format(&text);
    }
}
