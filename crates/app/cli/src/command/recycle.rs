//! `recycle`: servers are replaced by new ones of the same release.

use std::path::Path;

use hornero_api::message::{Intent, RecycleRequest};

use crate::{
    command::{
        following::follow,
        operation::{checked, client_of},
    },
    failure::Failure,
    output::{print_json, print_text},
    reports::OperationReport,
};

/// Asks for it, and follows it to its end.
pub async fn run(home: &Path, json: bool, object: String, why: String) -> Result<(), Failure> {
    // A control process that died is started again; where none ever was, nothing serves.
    let client = client_of(home).await?;
    let request = RecycleRequest { object, intent: Intent { why, commit: None } };
    let outcome = follow(&client, "/v1/recycle", &request, || ()).await?;
    checked(&outcome)?;
    if json {
        return print_json(&OperationReport::of(outcome.services));
    }
    outcome.services.iter().try_for_each(|service| {
        let instances = service.recycled.len();
        print_text(&format!("{}: {instances} instances replaced\n", service.name))
    })
}
