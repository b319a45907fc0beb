//! SIGTERM and SIGINT: they end the control process in good order.

use std::sync::mpsc::Sender;

use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::Input;

/// Has the thread that owns the driver end when the process is told to by a signal.
pub fn end_on_signals(runtime: &Runtime, inputs: Sender<Input>) {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let inputs = inputs.clone();
        runtime.spawn(async move {
            // Where it can't be caught the signal ends the process at once, from which the next one recovers.
            let Ok(mut signals) = signal(kind) else { return };
            while signals.recv().await.is_some() {
                if inputs.send(Input::Shutdown).is_err() {
                    return;
                }
            }
        });
    }
}
