//! Freezes: who may roll out while one holds.

use hornero_model::{Actor, Directory, EventBody, FreezeName, Timestamp};
use hyper::StatusCode;

use crate::{answer::ApiRefusal, api::Api};

impl Api {
    /// Refuses to bring a directory up while a freeze holds for it that is not overridden; what is overridden is recorded.
    pub async fn check_frozen(
        &self,
        by: Actor,
        directory: Directory,
        overrides: Vec<FreezeName>,
    ) -> Result<(), ApiRefusal> {
        let (concerned, named) = (directory.clone(), overrides.clone());
        let held = self
            .ask(move |driver| {
                let frozen = driver.world().frozen(Some(&concerned), Timestamp::now());
                let mut held = frozen.filter(|declared| !named.contains(&declared.freeze.name));
                held.next().cloned()
            })
            .await?;
        if let Some(held) = held {
            let name = &held.freeze.name;
            let text = format!("freeze `{name}` holds until {}", held.freeze.until);
            let refusal = ApiRefusal::new(StatusCode::CONFLICT, "frozen", text);
            return Err(refusal.hint(format!(
                "nothing was changed; `hornero up --override freeze.{name} --reason …` rolls out all the same"
            )));
        }
        let overridden =
            |freeze| EventBody::FreezeOverridden { freeze, directory: directory.clone() };
        self.record(by, overrides.into_iter().map(overridden).collect()).await
    }
}
