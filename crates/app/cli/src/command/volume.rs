//! `volume`: volumes as they stand, and what is done with them.

use std::path::Path;

use hornero_api::message::{
    CopyCost, Intent, VolumeDeed, VolumeReport, VolumeRequest, VolumeStatus,
};
use hornero_doctor::Need;
use hornero_model::{Timestamp, VolumeName};

use crate::{
    arguments::{NamedVolume, VolumeCommand},
    command::{
        absent::{asked_or_read, client},
        doctor, operation,
    },
    failure::{Failure, exit},
    output::{Table, Tone, age, print_json, print_list, print_text, size},
};

/// `hornero volume`.
pub async fn run(home: &Path, json: bool, command: VolumeCommand) -> Result<(), Failure> {
    let (named, deed) = match command {
        VolumeCommand::Ls => return list(home, json).await,
        VolumeCommand::Inspect { name } => return inspect(home, json, &name).await,
        VolumeCommand::Snapshot(named) => (named, VolumeDeed::Snapshot),
        VolumeCommand::Clone { named, to, snapshot } => (named, VolumeDeed::Clone { to, snapshot }),
        VolumeCommand::Restore { named, snapshot } => (named, VolumeDeed::Restore { snapshot }),
        VolumeCommand::Grow { named, size } => (named, VolumeDeed::Grow { size_bytes: size }),
        VolumeCommand::Rm(named) => (named, VolumeDeed::Remove),
        VolumeCommand::Adopt { named, path, size } => {
            doctor::before(home, Need::Run, true)?;
            let whole = path.canonicalize().map_err(|error| {
                Failure::new(exit::FAILED, format!("can't adopt `{}`: {error}", path.display()))
            })?;
            let path = whole.to_string_lossy().into_owned();
            (named, VolumeDeed::Adopt { path, size_bytes: size })
        }
    };
    change(home, json, named, deed).await
}

async fn change(
    home: &Path,
    json: bool,
    named: NamedVolume,
    deed: VolumeDeed,
) -> Result<(), Failure> {
    let client = match deed {
        // The first thing in a home may be data that is there already.
        VolumeDeed::Adopt { .. } => crate::daemon::ensure(home).await?,
        _ => operation::client_of(home).await?,
    };
    let NamedVolume { name, reason: why } = named;
    let request = VolumeRequest { deed, intent: Intent { why, commit: None } };
    let report: VolumeReport = client.post(&format!("/v1/volumes/{name}"), &request).await?;
    if json { print_json(&report) } else { print_text(&format!("{}\n", report.done)) }
}

async fn all(home: &Path) -> Result<Vec<VolumeStatus>, Failure> {
    let control = client(home);
    let asked = control.get::<Vec<VolumeStatus>>("/v1/volumes");
    asked_or_read(home, asked, || hornero_control::volumes_offline(home)).await
}

async fn list(home: &Path, json: bool) -> Result<(), Failure> {
    let none = "no volumes; a `volume` block of `hornero.hcl` declares one";
    print_list(json, &all(home).await?, none, table)
}

fn table(volumes: &[VolumeStatus], now: Timestamp, colour: bool) -> String {
    let mut table =
        Table::with_head(&["VOLUME", "SIZE", "STORED", "SNAPSHOTS", "AGE", "HOLDER", "PROTECTED"]);
    for volume in volumes {
        let holder = match (&volume.lease, volume.missing) {
            (_, true) => ("its data is missing".to_owned(), Tone::Bad),
            (Some(lease), _) => (lease.instance.to_string(), Tone::Plain),
            (None, _) if volume.attached => ("somebody without a lease".to_owned(), Tone::Bad),
            (None, _) => ("-".to_owned(), Tone::Quiet),
        };
        let protected = if volume.protected { "yes" } else { "no" };
        table.row(vec![
            (volume.name.to_string(), Tone::Plain),
            (size(volume.size_bytes), Tone::Plain),
            (size(volume.stored_bytes), Tone::Plain),
            (volume.snapshots.len().to_string(), Tone::Plain),
            (age(now, volume.created), Tone::Quiet),
            holder,
            (protected.to_owned(), Tone::Plain),
        ]);
    }
    table.render(colour)
}

async fn inspect(home: &Path, json: bool, name: &VolumeName) -> Result<(), Failure> {
    let found = all(home).await?.into_iter().find(|volume| volume.name == *name);
    let Some(volume) = found else {
        return Err(Failure::new(exit::NO_SUCH_OBJECT, format!("there is no volume `{name}`"))
            .word("no_such_volume")
            .hint("`hornero volume ls` lists them"));
    };
    if json {
        return print_json(&volume);
    }
    print_text(&described(&volume))
}

fn described(volume: &VolumeStatus) -> String {
    let held = match &volume.lease {
        Some(lease) => format!("`{}` by lease {}", lease.instance, lease.lease),
        None if volume.attached => "somebody without a lease".to_owned(),
        None => "nobody".to_owned(),
    };
    let copies = match volume.copies {
        CopyCost::Changes => {
            "take what is changed afterwards, and can be made while a server has it"
        }
        CopyCost::Data => {
            "take what was written, and can be made while nobody has it: the home's file system has no reflinks"
        }
    };
    let declared = volume.directory.as_ref();
    let declared = declared.map_or_else(|| "nobody".to_owned(), ToString::to_string);
    let mut text = format!(
        "volume      {}\nsize        {}\nstored      {}\nmade        {}, {}\ndeclared by {declared}\nprotected   {}\nheld by     {held}\ncopies      {copies}\n",
        volume.name,
        size(volume.size_bytes),
        size(volume.stored_bytes),
        volume.created,
        volume.origin,
        if volume.protected { "yes" } else { "no" },
    );
    for snapshot in &volume.snapshots {
        let why = if snapshot.why.is_empty() { "-" } else { &snapshot.why };
        let until = snapshot.keep_until.map(|until| format!("; kept until {until}"));
        let until = until.unwrap_or_default();
        text.push_str(&format!(
            "snapshot {:<2} {}  {}  {why}{until}\n",
            snapshot.snapshot,
            snapshot.created,
            size(snapshot.stored_bytes),
        ));
    }
    text
}
