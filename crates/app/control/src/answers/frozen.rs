//! Freezes: who may roll out while one holds.

use std::collections::BTreeSet;

use hornero_driver::Driver;
use hornero_model::{Actor, Directory, EventBody, FreezeName, ServiceName, Timestamp};
use hyper::StatusCode;

use crate::{answer::ApiRefusal, api::Api};

impl Api {
    /// Refuses to bring services up while a freeze holds that is not overridden: one of the home, of the directory that declares
    /// them, or of one whose they are by now. What is overridden is recorded.
    pub async fn check_frozen(
        &self,
        by: Actor,
        (directory, services): (Option<Directory>, Vec<ServiceName>),
        overrides: Vec<FreezeName>,
    ) -> Result<(), ApiRefusal> {
        let named = overrides.clone();
        let look = move |driver: &Driver| {
            let world = driver.world();
            let owners = services.iter().filter_map(|service| world.owner(service).cloned());
            let concerned: BTreeSet<Directory> = directory.into_iter().chain(owners).collect();
            let now = Timestamp::now();
            // Those of the home hold whoever is concerned.
            let of_home = world.frozen(None, now);
            let own = concerned.iter().flat_map(|directory| world.frozen(Some(directory), now));
            let held = of_home.chain(own).find(|of| !named.contains(&of.freeze.name)).cloned();
            (held, concerned.into_iter().next())
        };
        let (held, directory) = self.ask(look).await?;
        if let Some(held) = held {
            let name = &held.freeze.name;
            let text = format!("freeze `{name}` holds until {}", held.freeze.until);
            let refusal = ApiRefusal::new(StatusCode::CONFLICT, "frozen", text);
            return Err(refusal.hint(format!(
                "nothing was changed; `hornero up --override freeze.{name} --reason …` rolls out all the same"
            )));
        }
        if overrides.is_empty() {
            return Ok(());
        }
        let directory = directory.ok_or_else(no_directory)?;
        let overridden =
            |freeze| EventBody::FreezeOverridden { freeze, directory: directory.clone() };
        self.record(by, overrides.into_iter().map(overridden).collect()).await
    }
}

/// What is overridden is recorded with the directory that is brought up.
pub fn no_directory() -> ApiRefusal {
    let text = "what overrides a freeze or a guard has to name the `directory` that is brought up";
    ApiRefusal::new(StatusCode::BAD_REQUEST, "bad_request", text)
}
