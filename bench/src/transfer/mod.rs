//! Storage and transfer for successive patched states of one image, beside Docker's layers.

mod contestants;
mod history;
mod registries;
mod rows;

use std::fs;

use anyhow::Result;

use crate::{
    peers,
    setting::Setting,
    table::{HORNERO, Table},
};
use contestants::{Ours, Theirs};
use history::{History, PACKAGES};
use registries::Moved;
use rows::{UPGRADED, add_fix};

/// Docker with a base that is built anew for every state.
const ANEW: &str = "docker, base built anew";

pub fn measure(setting: &Setting) -> Result<Table> {
    peers::install(peers::CONTAINERS)?;
    peers::install(&[("docker-registry", "takes what is pushed")])?;
    let directory = setting.scratch.join("transfer");
    fs::create_dir_all(&directory)?;
    let mut table = Table::new("Transfer: successive patched states of one image");
    let mut history = History::new(&directory)?;
    let theirs = Theirs::start(&directory)?;
    let mut ours = Ours::start(&directory)?;
    let mut anew = Moved::default();
    for number in 0..=setting.states {
        eprintln!("bench: state {number} of {}", setting.states);
        let image = history.bake(number)?;
        let changed = history.changed_bytes(number)?;
        if !setting.peers_only {
            let moved = ours.publish(&history.store, &image, number)?;
            if number > 0 {
                add_fix(&mut table, HORNERO, moved, changed);
            }
        }
        let moved = anew.add(&theirs.anew, number, || theirs.publish_anew(&history, number))?;
        if number > 0 {
            add_fix(&mut table, ANEW, (moved, moved), changed);
        }
    }
    if !setting.peers_only {
        ours.report(&mut table, &history.store)?;
    }
    let stored_anew = theirs.data_bytes()?;
    anew.report(&mut table, ANEW, stored_anew, &theirs.anew)?;
    let (upgraded, first_bytes) = theirs.publish_upgraded(&mut table, &history, setting.states)?;
    // The daemon has the first state from before: the two ways share it.
    let stored = theirs.data_bytes()? - stored_anew + first_bytes;
    upgraded.report(&mut table, UPGRADED, stored, &theirs.upgraded)?;
    table.remark(format!(
        "A first state and {} further ones, each with one of {} packages of this machine built again: the build ids of \
         its programs and libraries, its changelog and its version change, all other files stay. Stored and pushed bytes \
         are file lengths and bodies, counted once whatever `--runs` says. Hornero bakes each state from a \
         signed archive; its store is counted with records, facts and the cache of steps, and the compressed layers beside it; fetched package files are counted for nobody.",
        setting.states,
        PACKAGES.len(),
    ));
    table.remark(
        "Docker gets the same roots. Base built anew: `docker import` of each, one layer, as after `docker build --pull \
         --no-cache` on a base that was published again. Upgrades in a layer: the first root, and on it one layer with \
         all packages that were upgraded since, whole, and dpkg's status, as `apt-get upgrade` in a Dockerfile makes it. \
         Docker's pushes are counted by what the registry's disk grew, its pulls as the same bytes: it pulls whole \
         layers. A fix's changed files are those contents that the state before did not have, each compressed by gzip \
         at its default level; dpkg's database is among them.",
    );
    Ok(table)
}
