//! Histories by chance: requests, bad images, crashes of everything, late and doubled news, failing effects.

use hornero_driver::RequestKind;
use hornero_model::{ExitCause, ReleaseNumber, ServiceName, ServiceSpec};
use hornero_sim::{Behaviour, Faults, Random, Simulation, service};

/// Seeds of one run of this test; more in a long run by `HORNERO_SIM_SEEDS`.
const SEEDS: u64 = 120;

fn history(seed: u64) {
    let mut random = Random::new(seed ^ 0x5EED);
    let mut simulation = Simulation::new(seed);
    if random.chance(70) {
        simulation.host.faults = Faults {
            doubled: random.between(0, 20),
            late: random.between(0, 30),
            failed: random.between(0, 8),
        };
    }
    let names = ["api", "site"];
    let mut images = vec![simulation.host.scenario.image(Behaviour::GOOD)];
    for _ in 0..random.between(4, 14) {
        match random.between(0, 12) {
            0..=5 => {
                let mut services: Vec<ServiceSpec> = Vec::new();
                for name in names {
                    if random.chance(60) {
                        if random.chance(70) {
                            let behaviour = Behaviour::any(&mut random);
                            images.push(simulation.host.scenario.image(behaviour));
                        }
                        let image = *random.choose(&images);
                        let instances = u32::try_from(random.between(1, 3)).unwrap();
                        services.push(service(name, image, instances));
                    }
                }
                simulation.request(RequestKind::Apply { services });
            }
            6 | 7 => {
                let service = ServiceName::new(*random.choose(&names)).unwrap();
                let to = random
                    .chance(30)
                    .then(|| ReleaseNumber(u32::try_from(random.between(1, 4)).unwrap()));
                simulation.request(RequestKind::Rollback { service, to });
            }
            8 => {
                let services = if random.chance(50) {
                    Vec::new()
                } else {
                    vec![ServiceName::new(*random.choose(&names)).unwrap()]
                };
                simulation.request(RequestKind::Down { services });
            }
            9 => {
                let ids = simulation.host.engine.ids();
                if !ids.is_empty() {
                    let victim = random.choose(&ids).clone();
                    if random.chance(50) {
                        simulation.crash_instance(&victim, ExitCause::Signal(9));
                    } else {
                        let now = simulation.host.now;
                        simulation.host.engine.sicken(&victim, now);
                    }
                }
            }
            10 => simulation.kill_control(random.between(0, 2_000)),
            11 => simulation.restart_host(random.between(0, 2_000)),
            _ => {
                let restart = random.chance(50);
                let (after, lasts) = (random.between(0, 1_000), random.between(50, 1_500));
                simulation.disturb_edge(after, lasts, restart);
            }
        }
        simulation.run(random.between(0, 3_000));
    }
    simulation.run(3_000);
    simulation.host.faults = Faults::default();
    simulation.come_to_rest();
    simulation.check_whole();
}

#[test]
fn every_history_ends_whole() {
    let seeds = std::env::var("HORNERO_SIM_SEEDS").ok().and_then(|text| text.parse().ok());
    let first = std::env::var("HORNERO_SIM_FIRST").ok().and_then(|text| text.parse().ok());
    let first = first.unwrap_or(0);
    for seed in first..first + seeds.unwrap_or(SEEDS) {
        history(seed);
    }
}

#[test]
fn a_table_overtakes_no_cut_whose_predecessor_was_confirmed_twice() {
    history(1974);
}
