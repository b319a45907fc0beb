//! Measures, in a network namespace of its own, how long instances take to get and lose their
//! network: `cargo run --release -p hornero-net --example attach_latency [COUNT]`.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use hornero_model::InstanceId;
use hornero_net::{Attachment, HomeNetwork};
use rustix::thread::{UnshareFlags, unshare_unsafe};

fn namespace() -> OwnedFd {
    std::thread::spawn(|| {
        // SAFETY: only the network namespace is unshared, no descriptors.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("new network namespace");
        File::open("/proc/thread-self/ns/net").expect("own network namespace").into()
    })
    .join()
    .expect("thread ends")
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    println!("{what:<18} median {:>6} us   p90 {:>6} us   max {:>6} us", at(50), at(90), at(100));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args().nth(1).map_or(Ok(100), |count| count.parse::<u32>())?;
    // SAFETY: only the network namespace is unshared, no descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    let directory = tempfile::tempdir()?;
    let began = Instant::now();
    let mut network = HomeNetwork::open(directory.path())?;
    network.up()?;
    println!("up                 {:>13} us", began.elapsed().as_micros());
    let (mut allocate, mut attach, mut detach) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let instance = InstanceId::new(format!("site-1-n{number}"))?;
        let namespace = namespace();
        let began = Instant::now();
        let address = network.allocate_address(&instance)?;
        allocate.push(began.elapsed());
        let attachment = Attachment { instance, address, egress: true };
        let began = Instant::now();
        network.attach(namespace.as_fd(), &attachment)?;
        attach.push(began.elapsed());
        let began = Instant::now();
        network.detach(&attachment.instance)?;
        detach.push(began.elapsed());
    }
    show("allocate_address", allocate);
    show("attach", attach);
    show("detach", detach);
    let began = Instant::now();
    network.down()?;
    println!("down               {:>13} us", began.elapsed().as_micros());
    Ok(())
}
