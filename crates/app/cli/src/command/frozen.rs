//! Freezes: what keeps `up` from beginning, before anything is baked or changed.

use std::{collections::BTreeSet, path::Path};

use hornero_api::{
    ClientError,
    message::{FreezeStatus, StatusReport},
};
use hornero_model::{Directory, Freeze, FreezeName, Timestamp};

use crate::{
    command::absent,
    failure::{Failure, exit},
};

/// The freezes that hold for a directory and are overridden; refused where one holds that is not. `declared` are those of
/// its `hornero.hcl`, which control may not know yet.
pub async fn check<'f>(
    home: &Path,
    directory: &Directory,
    declared: impl Iterator<Item = &'f Freeze>,
    overrides: &[FreezeName],
    reason: &str,
) -> Result<Vec<FreezeName>, Failure> {
    let known = known(home).await?;
    let concerned = known.iter().filter(|one| one.freeze.home || one.directory == *directory);
    let now = Timestamp::now();
    let all = declared.cloned().chain(concerned.map(|one| one.freeze.clone()));
    let holding: Vec<Freeze> = all.filter(|freeze| freeze.holds(now)).collect();
    if let Some(freeze) = holding.iter().find(|freeze| !overrides.contains(&freeze.name)) {
        let Freeze { name, until, .. } = freeze;
        let text = format!("freeze `{name}` holds until {until}");
        return Err(Failure::new(exit::REFUSED, text).word("frozen").hint(format!(
            "nothing was changed; `hornero up --override freeze.{name} --reason …` rolls out all the same"
        )));
    }
    let names: BTreeSet<FreezeName> = holding.iter().map(|freeze| freeze.name.clone()).collect();
    check_reason(!names.is_empty(), reason)?;
    for name in overrides.iter().filter(|name| !names.contains(*name)) {
        tell!("note     freeze.{name} does not hold now");
    }
    Ok(names.into_iter().collect())
}

/// What is overridden needs a reason.
pub fn check_reason(overrides: bool, reason: &str) -> Result<(), Failure> {
    if overrides && reason.is_empty() {
        let text = "`--override` needs a `--reason`: both stand in the ledger";
        return Err(Failure::new(exit::USAGE, text));
    }
    Ok(())
}

/// What the home knows of freezes; nothing where nothing ever ran there.
async fn known(home: &Path) -> Result<Vec<FreezeStatus>, Failure> {
    match absent::client(home).get::<StatusReport>("/v1/status").await {
        Ok(status) => Ok(status.freezes),
        Err(ClientError::Unreachable { .. }) if absent::is_readable(home) => {
            let status = hornero_control::status_offline(home);
            Ok(status.map_err(|error| Failure::of(&*error))?.freezes)
        }
        Err(ClientError::Unreachable { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
