//! SIGTERM and SIGINT: they end the control process in good order.

use std::sync::mpsc::Sender;

use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::input::Input;

/// Has the thread that owns the driver end when the process is told to by a signal, from the moment that this returns.
pub fn end_on_signals(runtime: &Runtime, inputs: Sender<Input>) {
    let _inside = runtime.enter();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let inputs = inputs.clone();
        // Where it can't be caught the signal ends the process at once, from which the next one recovers.
        let Ok(mut signals) = signal(kind) else { continue };
        runtime.spawn(async move {
            while signals.recv().await.is_some() {
                if inputs.send(Input::Shutdown).is_err() {
                    return;
                }
            }
        });
    }
}
