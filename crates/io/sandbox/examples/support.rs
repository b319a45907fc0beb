//! Says what this host can do for sandboxes: each way to make a root, and what else they need.

use hornero_sandbox::{Support, support};

fn main() {
    let begun = std::time::Instant::now();
    let host = support();
    println!("looked for {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    for feature in &host.features {
        println!("{}: {:?}: {}", feature.id, feature.state, feature.reason);
        for (word, text) in [("cost", &feature.cost), ("remedy", &feature.remedy)] {
            if !text.is_empty() {
                println!("    {word}: {text}");
            }
        }
    }
    for rung in Support::possible_rungs() {
        println!("possible: {rung}");
    }
}
