//! `home backup, restore, move, check, accept-ledger`: care of a home.

use std::path::Path;

use hornero_api::message::Nothing;
use hornero_care::{BackupManifest, BackupPlan, CareError, CareStep, CheckOptions, Severity};
use hornero_control::KeepOverride;
use hornero_ledger::Keys;
use hornero_model::Digest;
use hornero_secret::Vault;
use hornero_store::Store;

use crate::{
    arguments::{BackupImages, HomeCommand},
    command::{collect, host_leftovers},
    failure::{Failure, exit},
    harmless::harmless,
    output::{print_json, print_text, size},
    reports::{
        AcceptedLedger, HomeBackupReport, HomeCheckReport, HomeMoveReport, HomeRestoreReport,
    },
};

impl From<CareError> for Failure {
    fn from(error: CareError) -> Self {
        let mut failure = Self::of(&error);
        if error.is_refusal() {
            failure = failure.exit_with(exit::REFUSED);
        }
        if let Some(code) = error.code() {
            failure = failure.word(code);
        }
        match error.remedy() {
            Some(remedy) => failure.hint(remedy),
            None => failure,
        }
    }
}

/// `hornero home`. A check names what is wrong with a home that every other command refuses.
pub fn run(home: &Path, json: bool, command: HomeCommand) -> Result<(), Failure> {
    let home = match command {
        HomeCommand::Check { .. } => std::path::absolute(home)?,
        HomeCommand::Restore { .. } => hornero_home::resolve(home)?,
        _ => hornero_home::admit(home)?,
    };
    let home = home.as_path();
    if !matches!(command, HomeCommand::Check { .. } | HomeCommand::Restore { .. }) {
        hornero_control::format::check(home)?;
    }
    match command {
        HomeCommand::Backup { out, images, without_keys, with_secrets_key } => {
            backup(home, json, &out, images, (!without_keys, with_secrets_key))
        }
        HomeCommand::Restore { backup, to } => {
            restore(json, &backup, to.as_deref().unwrap_or(home))
        }
        HomeCommand::Move { to, stop } => relocate(home, json, &to, stop),
        HomeCommand::Check { full } => check(home, json, full),
        HomeCommand::AcceptLedger => accept(home, json),
    }
}

/// Says how far long work is.
fn show(step: CareStep) {
    match step {
        CareStep::Ledger => tell!("copying   the ledger"),
        CareStep::Store { done, of } => tell!("copying   {done} of {of} files of the store"),
        CareStep::Verify { done, of } => tell!("verifying {done} of {of} files"),
    }
}

fn backup(
    home: &Path,
    json_wanted: bool,
    out: &Path,
    images: BackupImages,
    (keys, secrets_key): (bool, bool),
) -> Result<(), Failure> {
    let (choice, images) = match images {
        BackupImages::None => ("none", Vec::new()),
        _ if !home.join("store/format").exists() => ("none", Vec::new()),
        BackupImages::All => ("all", Store::open(home.join("store"))?.images()?),
        BackupImages::Used => ("used", used(home)?),
    };
    let plan = BackupPlan { images: images.into_iter().collect(), choice, keys, secrets_key };
    let report = hornero_care::backup(home, out, &plan, &show)?;
    let manifest = &report.manifest;
    let data = HomeBackupReport {
        backup: out,
        number: manifest.number,
        head: manifest.head,
        images: &manifest.images,
        image_count: manifest.image_count,
        files: manifest.files,
        bytes: manifest.bytes,
        copied_files: report.copied_files,
        copied_bytes: report.copied_bytes,
        holds_signing_key: manifest.keys,
        holds_secrets_key: manifest.secrets_key,
        damaged: &report.damaged,
    };
    if !report.damaged.is_empty() {
        let text = format!(
            "the backup is whole but for what is damaged in the home:\n  {}",
            report.damaged.join("\n  ")
        );
        let hint = "`hornero image fsck` mends what it can; then back up again";
        return Err(Failure::new(exit::FAILED, text)
            .word("store_damaged")
            .hint(hint)
            .with_data(data));
    }
    if json_wanted {
        return print_json(&data);
    }
    print_text(&format!(
        "backup {} of {}: {} images, {} in {} files, {} of it new\n",
        manifest.number,
        home.display(),
        manifest.image_count,
        size(manifest.bytes),
        manifest.files,
        size(report.copied_bytes)
    ))?;
    tell_keys(home, manifest, keys)
}

/// Which keys a backup holds, and what that means; `keys` is whether the signing key was wanted.
fn tell_keys(home: &Path, manifest: &BackupManifest, keys: bool) -> Result<(), Failure> {
    print_text(match (manifest.keys, keys) {
        (true, _) => "it holds the private signing key: whoever reads it can sign as this home\n",
        (false, true) => "there is no signing key yet\n",
        (false, false) => {
            "it holds no signing key: a home restored from it serves once `keys/signing.pk8` is put back\n"
        }
    })?;
    match (Vault::of(home).list()?.is_empty(), manifest.secrets_key) {
        (true, _) => Ok(()),
        (false, true) => {
            print_text("it holds the secrets and their key: whoever reads it has their values\n")
        }
        (false, false) => print_text(
            "it holds the secrets encrypted, without `keys/secrets.key`: keep that elsewhere, or nothing opens them\n",
        ),
    }
}

/// The images that a collection would keep, and that are there.
fn used(home: &Path) -> Result<Vec<Digest>, Failure> {
    let store = Store::open(home.join("store"))?;
    let roots = collect::roots(home, &store, KeepOverride::default(), false)
        .map_err(|error| Failure::of(&*error))?;
    let mut images: Vec<Digest> = roots.into_iter().map(|root| root.image).collect();
    images.extend(store.ref_listing()?.refs.into_iter().map(|(_, image)| image));
    images.retain(|image| store.has_image(image));
    Ok(images)
}

fn restore(json_wanted: bool, backup: &Path, to: &Path) -> Result<(), Failure> {
    let report = hornero_care::restore(backup, to, &show)?;
    let manifest = &report.manifest;
    if json_wanted {
        return print_json(&HomeRestoreReport {
            home: &report.home,
            from: backup,
            number: manifest.number,
            created: manifest.created,
            head: manifest.head,
            holds_signing_key: manifest.keys,
            files: manifest.files,
        });
    }
    let home = report.home.display();
    print_text(&format!(
        "restored {home} from backup {}, made {}\n",
        manifest.number, manifest.created
    ))?;
    if manifest.head.is_some() && !manifest.keys {
        return print_text(&format!(
            "put the signing key into {home}/keys/signing.pk8 (mode 600) first\n"
        ));
    }
    print_text(&format!(
        "`hornero --home {home} serve` starts what was up; servers recorded as running are found gone and replaced\n"
    ))
}

fn relocate(home: &Path, json_wanted: bool, to: &Path, stop: bool) -> Result<(), Failure> {
    let ended = if stop { end_everything(home)? } else { Vec::new() };
    let moved = hornero_care::relocate(home, to)?;
    if json_wanted {
        return print_json(&HomeMoveReport { from: home, home: &moved, ended: &ended });
    }
    print_text(&format!(
        "moved {} to {}; `hornero --home {1} serve` starts what was up\n",
        home.display(),
        moved.display()
    ))
}

/// Ends control, edge and servers without a word in the ledger: what was up is started again by the next control.
fn end_everything(home: &Path) -> Result<Vec<String>, Failure> {
    let before = hornero_care::living(home)?;
    if before.is_empty() {
        return Ok(Vec::new());
    }
    if before.control {
        let client = hornero_api::Client::new(crate::daemon::socket(home));
        let asked = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(client.post::<Nothing>("/v1/shutdown", &Nothing {}));
        asked?;
    }
    // Waits for control's lock.
    hornero_control::abandon(home).map_err(|error| Failure::of(&*error))?;
    Ok(before.instances)
}

fn check(home: &Path, json_wanted: bool, full: bool) -> Result<(), Failure> {
    let mut problems = hornero_care::check(home, CheckOptions { full });
    problems.extend(host_leftovers::found());
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let report = HomeCheckReport { home, sound: errors == 0, problems: &problems };
    if !json_wanted {
        for problem in &problems {
            let word = match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            let mut text = format!("{word:<8} {}: {}\n", problem.code, problem.text);
            if let Some(run) = &problem.run {
                text.push_str(&format!("         run: {run}\n"));
            }
            print_text(&harmless(&text))?;
        }
    }
    if errors > 0 {
        let text = format!("{errors} things are wrong with `{}`", home.display());
        return Err(Failure::new(exit::FAILED, text)
            .hint("docs/operations/recovery.md says what to do for each")
            .with_data(&report));
    }
    match json_wanted {
        true => print_json(&report),
        false => print_text(&format!("{} is sound\n", home.display())),
    }
}

fn accept(home: &Path, json_wanted: bool) -> Result<(), Failure> {
    let keys = Keys::of_home(home).map_err(|error| Failure::from(CareError::from(error)))?;
    let head = hornero_ledger::accept_head(&home.join("ledger.db"), &keys)
        .map_err(|error| Failure::from(CareError::from(error)))?;
    if json_wanted {
        return print_json(&AcceptedLedger { sequence: head.sequence, hash: head.hash });
    }
    print_text(&format!(
        "the ledger is intact up to event {}; what came after it, if anything, is given up\n",
        head.sequence
    ))
}
