//! Starting, ending and limiting sandboxes.

mod support;

use hornero_model::ExitCause;
use support::{TestRoot, run, shell};

#[test]
fn a_command_runs_and_its_code_is_told() {
    let root = TestRoot::new();
    let (cause, output) = run(&shell(root.root(false), "busybox id; busybox mount; exit 7"));
    assert_eq!(cause, ExitCause::Code(7));
    assert!(output.starts_with("uid=0(root) gid=0"), "{output}");
}
