//! What another user planted is refused, with its path, its owner and what to do, and stays as it is.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink},
    path::{Path, PathBuf},
};

use hornero_home::{HomeError, Opening, admit, directory, open, prepare, resolve};

/// A user without a name on any host.
const STRANGER: u32 = 54_321;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("hornero-home-").tempdir_in("/tmp").unwrap())
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn home(&self) -> PathBuf {
        let home = self.join("home");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
        home
    }
}

fn refusal(error: &io::Error) -> &HomeError {
    error.get_ref().and_then(|inner| inner.downcast_ref()).unwrap_or_else(|| panic!("{error:?}"))
}

fn give(path: &Path) {
    lchown(path, Some(STRANGER), Some(STRANGER)).unwrap();
}

#[test]
fn a_home_of_another_user_is_refused_wherever_the_user_stands_on_the_way() {
    let place = Place::new();
    let home = place.home();
    assert_eq!(admit(&home).unwrap(), home);
    for path in [home.clone(), place.0.path().to_owned()] {
        give(&path);
        let error = admit(&home).unwrap_err();
        assert_eq!(error.code(), Some("home_other_owner"));
        let text = error.to_string();
        assert!(text.contains(&format!("`{}`", path.display())), "{text}");
        assert!(text.contains("user 54321"), "{text}");
        assert!(error.remedy().unwrap().contains("chown"), "{error:?}");
        assert_eq!(fs::metadata(&path).unwrap().uid(), STRANGER, "nothing is mended by itself");
        chown(&path, Some(0), Some(0)).unwrap();
    }
}

#[test]
fn a_home_that_others_may_write_to_is_refused_but_a_sticky_directory_above_may_be_passed() {
    let place = Place::new();
    let home = place.home();
    for (path, mode) in [(&home, 0o770), (&home, 0o702), (&home, 0o1777)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let error = prepare(&home).unwrap_err();
        assert_eq!(error.code(), Some("home_writable"), "{mode:o}");
        assert!(error.to_string().contains(&format!("mode {mode:o}")), "{error}");
        fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
    }
    let above = place.0.path();
    fs::set_permissions(above, Permissions::from_mode(0o777)).unwrap();
    assert_eq!(admit(&home).unwrap_err().code(), Some("home_writable"));
    fs::set_permissions(above, Permissions::from_mode(0o1777)).unwrap();
    admit(&home).unwrap();
    // The sticky bit protects from all but the directory's owner.
    give(above);
    assert_eq!(admit(&home).unwrap_err().code(), Some("home_other_owner"));
    chown(above, Some(0), Some(0)).unwrap();
    give(&home);
    assert_eq!(admit(&home).unwrap_err().code(), Some("home_other_owner"));
}

#[test]
fn a_home_that_is_missing_is_made_for_its_owner_only() {
    let place = Place::new();
    let home = place.join("a/b/home");
    assert_eq!(admit(&home).unwrap(), home);
    assert!(!place.join("a").exists(), "looking makes nothing");
    assert_eq!(prepare(&home).unwrap(), home);
    for made in ["a", "a/b", "a/b/home"] {
        assert_eq!(fs::metadata(place.join(made)).unwrap().mode() & 0o7777, 0o700, "{made}");
    }
    give(&place.join("a"));
    assert!(prepare(&place.join("a/other")).is_err());
    assert!(!place.join("a/other").exists());
}

#[test]
fn roots_own_links_on_the_way_are_followed_and_those_of_others_are_not() {
    let place = Place::new();
    let home = place.home();
    let link = place.join("link");
    symlink("home", &link).unwrap();
    assert_eq!(resolve(&link).unwrap(), home);
    fs::create_dir(place.join("deep")).unwrap();
    symlink("../link/../link", place.join("deep/link")).unwrap();
    assert_eq!(admit(&place.join("deep/link")).unwrap(), home);
    give(&link);
    let error = admit(&link).unwrap_err();
    assert_eq!(error.code(), Some("home_other_owner"));
    assert!(error.to_string().contains("link"), "{error}");
    // What a link of root's leads to has to be root's as well.
    let theirs = place.join("theirs");
    fs::create_dir(&theirs).unwrap();
    give(&theirs);
    symlink("theirs/home", place.join("led")).unwrap();
    assert_eq!(admit(&place.join("led")).unwrap_err().code(), Some("home_other_owner"));
    symlink("round", place.join("round")).unwrap();
    assert_eq!(admit(&place.join("round")).unwrap_err().code(), Some("home_link"));
}

#[test]
fn links_in_a_home_are_refused_whoever_made_them_and_their_targets_stay() {
    let place = Place::new();
    let home = place.home();
    let target = place.join("target");
    fs::write(&target, "of root").unwrap();
    for stranger in [true, false] {
        let link = home.join("control.lock");
        symlink(&target, &link).unwrap();
        if stranger {
            give(&link);
        }
        let error = admit(&home).unwrap_err();
        assert_eq!(error.code(), Some("home_link"));
        assert!(error.to_string().contains(&format!("to `{}`", target.display())), "{error}");
        assert!(error.remedy().unwrap().contains(&format!("rm '{}'", link.display())));
        for opening in
            [Opening::Read, Opening::Change, Opening::Create, Opening::Replace, Opening::Append]
        {
            let error = open(&link, opening).unwrap_err();
            assert_eq!(refusal(&error).code(), Some("home_link"), "{opening:?}");
        }
        fs::remove_file(&link).unwrap();
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "of root");
    // A link to nothing must not make what it names.
    symlink(place.join("nothing"), home.join("control.log")).unwrap();
    open(&home.join("control.log"), Opening::Append).unwrap_err();
    assert!(!place.join("nothing").exists());
}

#[test]
fn a_directory_of_a_home_that_is_a_link_is_neither_entered_nor_changed() {
    let place = Place::new();
    let home = place.home();
    let target = place.join("target");
    fs::create_dir(&target).unwrap();
    fs::set_permissions(&target, Permissions::from_mode(0o755)).unwrap();
    symlink(&target, home.join("edge")).unwrap();
    assert_eq!(directory(&home.join("edge")).unwrap_err().code(), Some("home_link"));
    let error = open(&home.join("edge/start.lock"), Opening::Replace).unwrap_err();
    assert_eq!(refusal(&error).code(), Some("home_link"));
    assert!(refusal(&error).to_string().contains("home/edge`"), "{error}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o755);
    // The parts that grow may be on another disk of root's, and only there.
    fs::remove_file(home.join("edge")).unwrap();
    symlink(&target, home.join("store")).unwrap();
    admit(&home).unwrap();
    give(&target);
    assert_eq!(admit(&home).unwrap_err().code(), Some("home_other_owner"));
}

#[test]
fn files_of_others_and_files_with_a_second_name_are_refused() {
    let place = Place::new();
    let home = place.home();
    let file = home.join("control.lock");
    fs::write(&file, "theirs").unwrap();
    give(&file);
    assert_eq!(
        refusal(&open(&file, Opening::Replace).unwrap_err()).code(),
        Some("home_other_owner")
    );
    assert_eq!(admit(&home).unwrap_err().code(), Some("home_other_owner"));
    fs::remove_file(&file).unwrap();
    let target = place.join("target");
    fs::write(&target, "of root").unwrap();
    fs::hard_link(&target, &file).unwrap();
    assert_eq!(
        refusal(&open(&file, Opening::Replace).unwrap_err()).code(),
        Some("home_second_name")
    );
    assert_eq!(fs::read_to_string(&target).unwrap(), "of root");
    fs::remove_file(&file).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &file,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    // A pipe that nobody writes to would be waited for.
    assert_eq!(refusal(&open(&file, Opening::Read).unwrap_err()).code(), Some("home_other_kind"));
}

#[test]
fn a_file_is_made_replaced_and_appended_to() {
    use std::io::{Read as _, Write as _};
    let place = Place::new();
    let file = place.home().join("file");
    assert_eq!(open(&file, Opening::Read).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(open(&file, Opening::Change).unwrap_err().kind(), io::ErrorKind::NotFound);
    open(&file, Opening::Append).unwrap().write_all(b"one").unwrap();
    open(&file, Opening::Append).unwrap().write_all(b" two").unwrap();
    let mut text = String::new();
    open(&file, Opening::Create).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "one two");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    open(&file, Opening::Replace).unwrap().write_all(b"3").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"3");
}
