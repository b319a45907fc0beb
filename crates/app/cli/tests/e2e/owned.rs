//! A home that somebody else owns, or has planted something in, is refused, and what the links lead to stays.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, lchown, symlink},
};

use crate::home::{Answer, Home};

/// A user without a name on any host.
const STRANGER: u32 = 54_321;

#[test]
fn a_home_of_another_user_is_refused_by_every_command_that_would_work_on_it() {
    let home = Home::with_own_store();
    let secret = home.directory_beside("root").join("secret");
    fs::write(&secret, "of root").unwrap();
    for name in ["control.lock", "control.log", "ledger.head"] {
        let link = home.path().join(name);
        symlink(&secret, &link).unwrap();
        lchown(&link, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    chown(home.path(), Some(STRANGER), Some(STRANGER)).unwrap();
    let commands: [&[&str]; 8] = [
        &["serve"],
        &["edge"],
        &["status"],
        &["up"],
        &["down"],
        &["down", "--force"],
        &["image", "ls"],
        &["audit", "verify"],
    ];
    for command in commands {
        let answer = home.run(command).expect(3);
        let text = &answer.stderr;
        assert!(text.contains(&format!("`{}`", home.path().display())), "{command:?}: {text}");
        assert!(text.contains("belongs to user 54321"), "{command:?}: {text}");
        assert!(text.contains("hint: ") && text.contains("chown"), "{command:?}: {text}");
    }
    // Given to root with what is in it, the links are still refused.
    chown(home.path(), Some(0), Some(0)).unwrap();
    for command in commands {
        let answer = home.run(command).expect(3);
        let text = &answer.stderr;
        assert!(text.contains("is a symbolic link (of user 54321)"), "{command:?}: {text}");
        assert!(text.contains(&secret.display().to_string()), "{command:?}: {text}");
        assert!(text.contains("rm '"), "{command:?}: {text}");
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "of root");
    let json = home.run(&["--json", "status"]).expect(3).json();
    assert_eq!(json["error"]["code"], "home_link", "{json}");
    assert!(!home.path().join("ledger.db").exists() && !home.path().join("keys").exists());
    for name in ["control.lock", "control.log", "ledger.head"] {
        fs::remove_file(home.path().join(name)).unwrap();
    }
}

#[test]
fn a_home_that_others_may_write_to_is_refused_and_one_through_a_link_of_roots_works() {
    let home = Home::with_own_store();
    let mode = |mode| fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    let answer = home.run(&["status"]).expect(3);
    assert!(answer.stderr.contains("mode 777"), "{}", answer.stderr);
    assert!(answer.stderr.contains("chmod go-w"), "{}", answer.stderr);
    mode(0o755);
    let link = home.directory_beside("links").join("hornero");
    symlink(home.path(), &link).unwrap();
    let through = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hornero"));
        command.env("HORNERO_HOME", &link).args(arguments).current_dir(home.project());
        Answer::of(&command.output().unwrap())
    };
    assert_eq!(through(&["down"]).expect(0).stdout, "nothing runs\n");
    fs::create_dir(home.path().join("store")).unwrap();
    through(&["image", "ls"]).expect(0);
    lchown(&link, Some(STRANGER), Some(STRANGER)).unwrap();
    let answer = through(&["down"]).expect(3);
    assert!(answer.stderr.contains(link.to_str().unwrap()), "{}", answer.stderr);
}
