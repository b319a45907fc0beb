//! What the edge does by itself while it runs, whatever it is told.

use std::{rc::Rc, time::Duration};

use tokio::task::spawn_local;

use crate::{control::Control, memory};

/// How often a listener that could not be opened is tried again.
const LISTEN_RETRY: Duration = Duration::from_secs(1);
/// How often certificates are looked at: whoever renews one sees it served a moment later.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(1);

/// Begins with all of it, for as long as the edge runs.
pub(crate) fn begin(control: &Rc<Control>) {
    spawn_local(retry_listening(control.clone()));
    spawn_local(report_ended(control.clone()));
    spawn_local(report_wanted(control.clone()));
    spawn_local(renew_certificates(control.clone()));
    spawn_local(memory::give_back_for_ever(control.clone()));
}

/// Grows the version when a retired set has ended its last request.
async fn report_ended(control: Rc<Control>) {
    loop {
        control.sets.ended().notified().await;
        if control.sets.take_ended() {
            control.bump();
        }
    }
}

/// Grows the version when somebody begins to wait for a service of which nothing runs.
async fn report_wanted(control: Rc<Control>) {
    loop {
        control.wanted.notified().await;
        control.bump();
    }
}

async fn retry_listening(control: Rc<Control>) {
    loop {
        tokio::time::sleep(LISTEN_RETRY).await;
        control.retry_listening().await;
    }
}

async fn renew_certificates(control: Rc<Control>) {
    loop {
        tokio::time::sleep(CERTIFICATE_LOOK).await;
        control.certificates.look(|| control.bump()).await;
    }
}
