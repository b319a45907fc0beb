//! The driver's outcomes in the API's words.

use hornero_api::message::{OperationFailure, OperationOutcome, OutcomeKind, ServiceOutcome};

use crate::churn;

/// What to do where a server wrote to its root; nothing where it did not.
fn read_only(log_tail: &[String]) -> Option<String> {
    let words = "read-only file system";
    let met = log_tail.iter().any(|line| line.to_ascii_lowercase().contains(words));
    met.then(|| {
        "the root of a server is read-only: name the directories that it writes to in its image, as in `scratch = \
         [\"/run\", \"/var/lib/app\"]`"
            .to_owned()
    })
}

/// An outcome as clients read it.
pub fn told(outcome: hornero_driver::Outcome) -> OperationOutcome {
    let services = outcome.services.into_iter().map(|service| ServiceOutcome {
        name: service.service,
        release: service.release,
        image: service.image,
        rollout: service.rollout,
        receipt: service.receipt,
        adjusted: service.adjusted,
        recycled: service.recycled,
    });
    OperationOutcome {
        result: match outcome.result {
            hornero_driver::OutcomeKind::Done => OutcomeKind::Done,
            hornero_driver::OutcomeKind::Failed => OutcomeKind::Failed,
            hornero_driver::OutcomeKind::Refused => OutcomeKind::Refused,
            hornero_driver::OutcomeKind::RolledBack => OutcomeKind::RolledBack,
            hornero_driver::OutcomeKind::NotFound => OutcomeKind::NotFound,
        },
        services: services.collect(),
        failure: outcome.failure.map(|(service, failure)| {
            // An instance that never ran wrote nothing.
            let all = failure
                .instance
                .as_ref()
                .filter(|_| !failure.log_tail.is_empty())
                .map(|id| format!("`hornero logs {id}` shows all it wrote"));
            let hint = match (read_only(&failure.log_tail), all) {
                (Some(scratch), Some(all)) => Some(format!("{scratch}\n{all}")),
                (scratch, all) => scratch.or(all),
            };
            let guarded = failure.refused.as_deref();
            let of_data = guarded.and_then(|guard| guard.strip_prefix("guard.")).map(|guard| {
                format!(
                    "what served serves on; `hornero guard check {service}` asks again, `--override guard.{guard} \
                     --reason …` goes on whatever it says"
                )
            });
            let hint = of_data.or_else(|| guarded.and_then(|guard| churn::hint(guard, &service))).or(hint);
            let cause = failure.cause.as_ref().map(ToString::to_string);
            // The reason may tell the cause already.
            let reason = match cause.filter(|cause| !failure.reason.contains(cause.as_str())) {
                Some(cause) => format!("{}: {cause}", failure.reason),
                None => failure.reason,
            };
            let reason = match &failure.instance {
                Some(id) if !reason.contains(id.as_str()) => format!("instance `{id}`: {reason}"),
                Some(_) | None => reason,
            };
            OperationFailure {
                service: Some(service),
                reason,
                instance: failure.instance,
                log_tail: failure.log_tail,
                hint,
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_wrote_to_its_root_is_told_of_scratch() {
        let line =
            "nginx: [emerg] mkdir() \"/var/lib/nginx/body\" failed (30: Read-only file system)";
        let told = read_only(&["starting".to_owned(), line.to_owned()]).unwrap();
        assert!(told.contains("scratch = ["), "{told}");
        assert_eq!(read_only(&["cannot open shared object file".to_owned()]), None);
    }
}
