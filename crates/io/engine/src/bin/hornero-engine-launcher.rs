//! The launcher alone, for tests of the local engine: `hornero-engine-launcher HOME`.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let Some(home) = std::env::args_os().nth(1) else {
        eprintln!("usage: hornero-engine-launcher HOME");
        return ExitCode::from(2);
    };
    match hornero_engine::launcher::serve(Path::new(&home)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
