//! `hornero-load`: makes load from the command line, or serves as reference upstream.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use hornero_load::{Load, LoadPlan, LoadReport, Marker, Mode, Upstream, UpstreamOptions, Workers};

#[derive(Parser)]
#[command(about = "Makes load and counts what came of it; or serves as reference upstream")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make load on HOST:PORT; exits 1 when a request failed.
    Run(RunArguments),
    /// Serve `/`, `/health`, `/wait?ms=`, `/stream?bytes=&ms=`, `/post`, `/via`, `/echo` (WebSocket) and `/crash`.
    Serve(ServeArguments),
}

#[derive(Args)]
struct RunArguments {
    /// Where requests go.
    target: String,
    /// Workers that keep their connection.
    #[arg(long, default_value_t = 2)]
    keep_alive: u32,
    /// Workers that open a connection for every request.
    #[arg(long, default_value_t = 2)]
    new_connection: u32,
    /// Workers that speak HTTP/2 with prior knowledge.
    #[arg(long, default_value_t = 0)]
    http2: u32,
    /// Workers that read slowly.
    #[arg(long, default_value_t = 0)]
    slow: u32,
    /// WebSockets held open.
    #[arg(long, default_value_t = 0)]
    websocket: u32,
    /// What is asked for.
    #[arg(long, default_value = "/")]
    path: String,
    /// What slow workers ask for.
    #[arg(long, default_value = "/stream?bytes=200000&ms=1000")]
    slow_path: String,
    /// Where WebSockets are opened.
    #[arg(long, default_value = "/echo")]
    websocket_path: String,
    /// Milliseconds between two requests of one worker; 0 means back to back.
    #[arg(long, default_value_t = 50)]
    interval_ms: u64,
    /// Longest duration in seconds.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Most requests.
    #[arg(long)]
    requests: Option<u64>,
    /// Seconds that one request may take.
    #[arg(long, default_value_t = 10.0)]
    timeout: f64,
    /// Tell answers apart by the text between BEFORE and AFTER.
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    marker: Vec<String>,
    /// Stop as soon as standard input ends, so that whoever started it can stop it or die.
    #[arg(long)]
    until_stdin_ends: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ServeArguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Stands in every page.
    #[arg(long, default_value = "reference")]
    marker: String,
    /// `/health` answers 503 for this long.
    #[arg(long)]
    healthy_after_ms: Option<u64>,
    /// Everything is answered with 500 from then on.
    #[arg(long)]
    failing_after_ms: Option<u64>,
    /// End with code 3 at once, after saying so: a release that crashes at start.
    #[arg(long)]
    crash_at_start: bool,
    /// HOST:PORT that `/via` asks.
    #[arg(long)]
    backend: Option<String>,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Serve(arguments) => serve(arguments),
    };
    result.unwrap_or_else(|message| {
        eprintln!("hornero-load: {message}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &RunArguments) -> Result<ExitCode, String> {
    let load = Load::start(plan(arguments)?).map_err(|error| error.to_string())?;
    let report = if arguments.until_stdin_ends {
        let ended = std::thread::spawn(|| {
            // Whatever comes is skipped; an error ends it as well.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        });
        while !load.is_finished() && !ended.is_finished() {
            std::thread::sleep(Duration::from_millis(5));
        }
        load.stop()
    } else {
        load.wait()
    };
    if arguments.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        println!("{text}");
    } else {
        print(&report);
    }
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plan(arguments: &RunArguments) -> Result<LoadPlan, String> {
    let address = arguments
        .target
        .to_socket_addrs()
        .map_err(|error| format!("`{}` is no HOST:PORT: {error}", arguments.target))?
        .next()
        .ok_or_else(|| format!("`{}` has no address", arguments.target))?;
    let seconds = |value: f64, name: &str| {
        Duration::try_from_secs_f64(value).map_err(|_| format!("`--{name}` is no duration"))
    };
    let workers = [
        (Mode::KeepAlive, arguments.keep_alive, &arguments.path),
        (Mode::NewConnection, arguments.new_connection, &arguments.path),
        (Mode::Http2, arguments.http2, &arguments.path),
        (Mode::Slow, arguments.slow, &arguments.slow_path),
        (Mode::WebSocket, arguments.websocket, &arguments.websocket_path),
    ];
    let interval =
        (arguments.interval_ms > 0).then(|| Duration::from_millis(arguments.interval_ms));
    let workers = workers
        .into_iter()
        .filter(|(_, count, _)| *count > 0)
        .map(|(mode, count, path)| Workers { interval, ..Workers::new(mode, count, path.as_str()) })
        .collect();
    let marker = match arguments.marker.as_slice() {
        [before, after] => Some(Marker { before: before.clone(), after: after.clone() }),
        _ => None,
    };
    let mut plan = LoadPlan::new(address, workers);
    plan.host.clone_from(&arguments.target);
    plan.duration = seconds(arguments.seconds, "seconds")?;
    plan.timeout = seconds(arguments.timeout, "timeout")?;
    plan.requests = arguments.requests;
    plan.marker = marker;
    Ok(plan)
}

fn serve(arguments: ServeArguments) -> Result<ExitCode, String> {
    if arguments.crash_at_start {
        eprintln!("told to crash at start");
        return Ok(ExitCode::from(3));
    }
    let options = UpstreamOptions {
        marker: arguments.marker,
        healthy_after: arguments.healthy_after_ms.map(Duration::from_millis),
        failing_after: arguments.failing_after_ms.map(Duration::from_millis),
        backend: arguments.backend,
    };
    let upstream = Upstream::start(arguments.listen, options)
        .map_err(|error| format!("cannot listen on `{}`: {error}", arguments.listen))?;
    println!("listening on {}", upstream.address());
    upstream.wait();
    Ok(ExitCode::SUCCESS)
}

fn print(report: &LoadReport) {
    println!(
        "{} requests in {:.1} s: {} ok, {} failed",
        report.started,
        report.elapsed_ms / 1e3,
        report.ok,
        report.failed
    );
    for (mode, of_mode) in &report.modes {
        println!(
            "  {:<14} {:>8} ok {:>6} failed  p50 {:>8.2} ms  p99 {:>8.2} ms  {} connections",
            mode.to_string(),
            of_mode.ok,
            of_mode.failed,
            of_mode.latency.p50_ms,
            of_mode.latency.p99_ms,
            of_mode.connections
        );
    }
    for seen in &report.markers {
        println!("  saw `{}` {} times", seen.marker, seen.count);
    }
    for failure in &report.failures {
        println!("  failed at {:.0} ms ({}): {}", failure.at_ms, failure.mode, failure.reason);
    }
}
