//! The launcher alone, and a control process that can be killed, for tests of the local engine.
//!
//! `hornero-engine-launcher HOME` is the launcher. `hornero-engine-launcher HOME control` starts every instance whose
//! specification it reads as a line of standard input, and says each id on standard output.

use std::{error::Error, io, path::Path, path::PathBuf, process::ExitCode, sync::Arc};

use hornero_engine::{LauncherCommand, LocalEngine, LocalOptions};
use hornero_engine_port::Engine as _;
use hornero_store::Store;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let result = match &arguments[..] {
        [home] => hornero_engine::launcher::serve(Path::new(home)).map_err(Into::into),
        [home, control] if control == "control" => control_process(Path::new(home)),
        _ => {
            eprintln!("usage: hornero-engine-launcher HOME [control]");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn control_process(home: &Path) -> Result<(), Box<dyn Error>> {
    let program = PathBuf::from("/proc/self/exe");
    let launcher = LauncherCommand { program, arguments: vec![home.into()] };
    let store = Some(Arc::new(Store::open(home.join("store"))?));
    let options =
        LocalOptions { launcher, networked: false, log_limits: Default::default(), store };
    let engine = LocalEngine::open(home, options)?;
    for line in io::stdin().lines() {
        let spec = serde_json::from_str(&line?)?;
        engine.start(engine.term()?, &spec)?;
        println!("{}", spec.id);
    }
    Ok(())
}
