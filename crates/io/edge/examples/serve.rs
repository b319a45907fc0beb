//! Runs an edge by itself: `serve STATE_DIR [THREADS]`; give it a table through its admin socket.

fn main() -> Result<(), hornero_edge::EdgeError> {
    let mut arguments = std::env::args().skip(1);
    let Some(state_dir) = arguments.next() else {
        eprintln!("usage: serve STATE_DIR [THREADS]");
        std::process::exit(2);
    };
    let threads = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let options =
        hornero_edge::EdgeOptions { threads, ..hornero_edge::EdgeOptions::new(state_dir) };
    hornero_edge::run(options)
}
