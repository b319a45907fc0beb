//! Why a server that runs does not answer its health check.

use hornero_model::Health;

use crate::{
    bundle::BundleContents,
    finding::{AutopsyFinding, LikelyCause},
    lines::shown,
};

/// What a process that runs was doing, or where most of its threads waited.
enum Activity {
    /// So many of so many threads ran.
    Busy { running: usize, threads: usize },
    /// All waited, most of them in this function of the kernel.
    Waiting { function: String, threads: usize },
}

/// Of a server that ran when it was looked at: what its check met.
pub fn unwell(contents: &BundleContents) -> AutopsyFinding {
    let last = contents.health.iter().rev().find(|seen| seen.health != Health::Healthy);
    let error = last.and_then(|seen| seen.error.as_deref()).unwrap_or_default();
    let listens = |port: &u16| contents.sockets.iter().any(|of| of.listens_on() == Some(*port));
    let missing = contents.manifest.ports.iter().find(|port| !listens(port));
    if let Some(port) = missing.filter(|_| !contents.processes.is_empty()) {
        let summary = format!("it runs, and nothing in it listens on port {port}");
        return AutopsyFinding::new(LikelyCause::NotListening, summary).with(error);
    }
    let timed_out = ["timed out", "no answer", "time-out", "timeout", "did not answer"];
    if timed_out.iter().any(|words| error.contains(words)) {
        let summary = match activity(contents) {
            Some(Activity::Busy { running, threads }) => {
                format!(
                    "health check timed out while it was busy: {running} of {threads} threads ran"
                )
            }
            Some(Activity::Waiting { function, threads }) if function.is_empty() => {
                format!(
                    "health check timed out while it stood still: none of {threads} threads ran"
                )
            }
            Some(Activity::Waiting { function, threads }) => format!(
                "health check timed out while it waited: none of {threads} threads ran, most wait in {function}"
            ),
            None => "health check timed out".to_owned(),
        };
        return AutopsyFinding::new(LikelyCause::Unresponsive, summary)
            .with(error)
            .with(&pressure(contents));
    }
    let summary = match error {
        "" => "it was not healthy; what its health check met is not known".to_owned(),
        error => format!("health check failed: {}", shown(error)),
    };
    AutopsyFinding::new(LikelyCause::Unhealthy, summary)
}

fn activity(contents: &BundleContents) -> Option<Activity> {
    // The one whose parent is elsewhere is Hornero's own, and waits for the others.
    let ids: Vec<u32> = contents.processes.iter().map(|of| of.pid).collect();
    let own = contents.processes.iter().filter(|of| ids.contains(&of.parent));
    let threads: Vec<_> = own.flat_map(|process| &process.threads).collect();
    if threads.is_empty() {
        return None;
    }
    let running = threads.iter().filter(|thread| thread.state == "R").count();
    let threads_count = threads.len();
    if running > 0 {
        return Some(Activity::Busy { running, threads: threads_count });
    }
    let mut functions: Vec<&str> = threads.iter().map(|of| of.waits_in.as_str()).collect();
    functions.sort_unstable();
    let most = functions.chunk_by(|a, b| a == b).max_by_key(|of| of.len());
    let function = most.map_or(String::new(), |of| of[0].to_owned());
    Some(Activity::Waiting { function, threads: threads_count })
}

/// Whether it had to wait for processors, as the kernel puts it.
fn pressure(contents: &BundleContents) -> String {
    let some = contents.group.pressure.get("cpu").and_then(|text| text.lines().next());
    some.map_or(String::new(), |line| format!("waiting for processors: {line}"))
}
