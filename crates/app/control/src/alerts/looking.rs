//! What alerts look at, in the control process that runs.

use hornero_model::Timestamp;

use super::{
    conditions::{OwnFaults, of_control, of_services},
    watch::AlertLook,
};
use crate::{api::Api, input::ask};

/// Looks at the services by the thread that owns the driver, and at what control sees of itself.
pub fn look(api: &Api) -> AlertLook {
    let (inputs, operations) = (api.inputs.clone(), api.operations.clone());
    let (settings, witness, ways) =
        (api.settings_fault.clone(), api.witness.clone(), api.ways.clone());
    Box::new(move |now: Timestamp| {
        let mut found = ask(&inputs, move |driver| of_services(driver, now))?;
        let fault = |way: hornero_api::message::ApiStatus| {
            way.fault.map(|fault| format!("`{}`: {fault}", way.listen))
        };
        found.extend(of_control(OwnFaults {
            journal: operations.journal_fault(),
            settings: settings.clone(),
            witness: witness.as_ref().and_then(|witness| witness.status().fault),
            api: ways.status().into_iter().find_map(fault),
        }));
        Some(found)
    })
}
