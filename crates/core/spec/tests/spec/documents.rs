//! The documents say what the code does.

use hornero_spec::{ErrorCode, Errors};

use crate::check::read;

const ERRORS: &str = include_str!("../../../../../docs/errors/hornero-hcl.md");
const REFERENCE: &str = include_str!("../../../../../docs/guides/hornero-hcl.md");

#[test]
fn every_error_code_has_its_section() {
    for code in ErrorCode::ALL {
        assert!(ERRORS.contains(&format!("\n## {}\n", code.as_str())), "{}", code.as_str());
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
    assert_eq!(ERRORS.matches("\n## ").count(), ErrorCode::ALL.len());
}

/// The names in the hints that list all that a block has.
fn names(errors: &Errors) -> Vec<String> {
    let hints = errors.iter().filter_map(|error| error.hint.as_deref()?.strip_prefix("it has "));
    hints.flat_map(|hint| hint.split(", ").map(str::to_owned)).collect()
}

#[test]
fn every_key_is_in_the_reference() {
    let errors = read(
        r#"
image "a" {
  debian  = "bookworm"
  qqqqqqq = 1
  scratch = [{ path = "/x", qqqqqqq = 1 }]
  copy "public" {
    to      = "/x"
    qqqqqqq = 1
  }
  provision "shell" {
    inline  = ["x"]
    qqqqqqq = 1
  }
  provision "ansible" {
    playbook = "nginx.conf"
    qqqqqqq  = 1
  }
  secret "s" {
    env     = "S"
    qqqqqqq = 1
  }
  test "t" {
    qqqqqqq = 1
    http    = { port = 1, qqqqqqq = 1 }
  }
}
service "a" {
  image     = image.a
  qqqqqqq   = 1
  rollout   = { qqqqqqq = 1 }
  resources = { qqqqqqq = 1 }
  health    = { qqqqqqq = 1, tcp = { qqqqqqq = 1 } }
  port "http" {
    container = 1
    qqqqqqq   = 1
  }
  route {
    listen  = 1
    qqqqqqq = 1
    tls     = { qqqqqqq = 1 }
  }
  mount "/x" { qqqqqqq = 1 }
}
volume "a" { qqqqqqq = 1 }
trust "a" { qqqqqqq = 1 }
variable "a" {
  default = 1
  qqqqqqq = 1
}
"#,
    )
    .unwrap_err();
    let names = names(&errors);
    assert!(names.len() > 75, "{names:?}");
    for name in names {
        let name = name.trim_matches('`');
        let block = format!("`{name} \"");
        assert!(REFERENCE.contains(&format!("`{name}`")) || REFERENCE.contains(&block), "{name}");
    }
}

#[test]
fn every_function_is_in_the_reference() {
    let (_, functions) = REFERENCE.split_once("| functions | |").unwrap();
    let called = functions
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()));
    let mut count = 0;
    for name in called {
        count += 1;
        let text = format!("image \"a\" {{\n  debian = \"bookworm\"\n  user = {name}()\n}}\n");
        let errors = read(&text).unwrap_err();
        assert_eq!(errors.iter().next().unwrap().code, ErrorCode::Expression, "{name}");
    }
    assert!(count >= 36, "{count}");
}
