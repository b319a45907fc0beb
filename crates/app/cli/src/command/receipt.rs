//! `receipt`: the signed records of switches.

use std::path::Path;

use hornero_model::{InstanceId, Receipt, ReceiptBody, RolloutId, ServiceName};

use crate::{
    command::{
        absent::{asked_or_read, client},
        canary,
        operation::{summary, without_service},
    },
    failure::{Failure, exit},
    harmless::harmless,
    output::{print_json, print_text},
};

/// `hornero receipt`.
pub async fn receipt(
    home: &Path,
    json: bool,
    id: Option<RolloutId>,
    service: Option<ServiceName>,
) -> Result<(), Failure> {
    let (client, read) = (client(home), || hornero_control::receipts_offline(home));
    if let Some(id) = id {
        let path = format!("/v1/receipts/{id}");
        let asked = async { client.get::<Receipt>(&path).await.map(|receipt| vec![receipt]) };
        let receipts = asked_or_read(home, asked, read).await?;
        let receipt = receipts.iter().find(|receipt| receipt.body.id == id).ok_or_else(|| {
            Failure::new(exit::NO_SUCH_OBJECT, format!("no receipt `{id}`")).word("no_such_receipt")
        })?;
        return match json {
            true => print_json(receipt),
            false => print_text(&harmless(&receipt_text(receipt))),
        };
    }
    let query = service.as_ref().map_or_else(String::new, |name| format!("?service={name}"));
    let path = format!("/v1/receipts{query}");
    let mut receipts: Vec<Receipt> = asked_or_read(home, client.get(&path), read).await?;
    receipts.retain(|receipt| service.as_ref().is_none_or(|name| receipt.body.service == *name));
    if json {
        return print_json(&receipts);
    }
    receipts.iter().try_for_each(|receipt| print_text(&format!("{}\n", summary(receipt))))
}

/// A receipt, for people.
pub fn receipt_text(receipt: &Receipt) -> String {
    let body = &receipt.body;
    let from = match (body.from, body.from_image) {
        (Some(number), Some(image)) => format!("{}@{number}  {image}", body.service),
        _ => "nothing".to_owned(),
    };
    format!(
        "receipt    {}\nfrom       {from}\nto         {}@{}  {}\nwho        {}\nwhy        {}\nswitched   {} in {:.3} ms\n\
         in all     {:.0} ms\ndrained    {}\ncut off    {}\nfailed     {}\nwarm       {}\nsignature  {}\nkey        {}\n",
        body.id,
        body.service,
        body.to,
        body.to_image,
        body.by.who,
        body.by.why,
        body.switched,
        body.switch_ms,
        body.total_ms,
        body.drained,
        body.cut_off,
        body.requests_failed,
        if body.warm { "yes" } else { "no" },
        receipt.signature,
        receipt.key
    ) + &body
        .canary
        .iter()
        .map(|step| format!("canary     {}\n", canary::judged(step)))
        .collect::<String>()
        + &without_service(body).map(|text| format!("replaced   {text}\n")).unwrap_or_default()
        + &spread(body)
        + &failed_server(body)
            .map(|id| format!("autopsy    hornero autopsy {id}\n"))
            .unwrap_or_default()
        + &body.interventions.iter().map(|deed| format!("by hand    {deed}\n")).collect::<String>()
        + &body.taken_back.iter().map(|why| format!("taken back {why}\n")).collect::<String>()
        + &body.batched.iter().map(|of| format!("batched    {}\n", of.reason)).collect::<String>()
}

/// The server that a new release was taken back for, as the reason names it.
fn failed_server(body: &ReceiptBody) -> Option<InstanceId> {
    let (_, named) = body.taken_back.as_ref()?.split_once("instance `")?;
    InstanceId::new(named.split_once('`')?.0).ok()
}

/// Over how many edges the switch was made, where there are several.
fn spread(body: &ReceiptBody) -> String {
    match (body.edges, body.skew_ms) {
        (Some(edges), Some(skew)) if edges > 1 => {
            format!("edges      {edges}, the last {skew:.0} ms after the first\n")
        }
        _ => String::new(),
    }
}
