//! The `hornero` command: reads the command line, does one thing, answers with an exit code of the contract.

/// Says a line on stderr, as `eprintln!` does, which writes piece by piece and panics where nobody reads.
macro_rules! tell {
    ($($words:tt)*) => { $crate::output::write_stderr(&(format!($($words)*) + "\n")) };
}

mod arguments;
mod bar;
mod build_log;
mod command;
mod commit;
mod daemon;
mod failure;
mod harmless;
mod hints;
mod home_settings;
mod output;
mod process_log;
mod progress;
mod project;
mod remote;
mod replace;
mod reports;
mod session_terminal;
mod stderr;
mod supervision;
mod version;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser as _};

use arguments::{Arguments, AuditCommand, Command, GuardCommand, ImageCommand, ScheduleCommand};
use command::{
    audit, bake, churn, collect, diff, doctor, export, history, image, job, logs, manual,
    operation, patching, plan, preview, rebasing, receipt, receipt_wait, recycle, rehearse,
    reproducing, run as one_off, sbom, schedule, state_lint, status, storage, transport, up,
    verify, volume,
};
use failure::Failure;

fn main() -> ExitCode {
    hornero_model::set_program_version(version::VERSION);
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misused(&error),
    };
    let json = arguments.json;
    hints::hints_for(&arguments.home);
    // `upgrade` ends the difference itself.
    if !matches!(arguments.command, Command::Upgrade(_)) {
        hornero_api::on_other_version(version::tell_of_other);
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

/// Prints help, the version, or what is wrong with the command line; scripts get the last as JSON too.
fn misused(error: &clap::Error) -> ExitCode {
    // A reader that went away (`| head`) is no failure.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    // What comes after `--` is no option.
    if std::env::args_os().take_while(|word| word != "--").any(|word| word == "--json") {
        let text = error.render().to_string();
        // What is missing stands on the lines after the first.
        let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
        let message = lines.collect::<Vec<_>>().join(" ");
        let message = message.trim_start_matches("error: ");
        let exit = failure::exit::USAGE;
        let error = failure::ErrorReport { message, hint: None, exit, code: None };
        // Nobody is left to tell that stdout can't be written.
        let _ = output::print_json(&failure::BareFailure { error });
    }
    ExitCode::from(failure::exit::USAGE)
}

/// The home that the command may work on.
fn admitted(arguments: &Arguments) -> Result<PathBuf, Failure> {
    let home = match &arguments.command {
        // What is wrong with a host or a home is told, whatever home is there.
        Command::Doctor => std::path::absolute(&arguments.home)?,
        _ if remote::is_elsewhere() => arguments.home.clone(),
        command if works_on_home(command) && !cares_for_home(command) => {
            let home = within_limits(hornero_home::admit(&arguments.home)?)?;
            hornero_control::format::check(&home)?;
            home
        }
        _ => arguments.home.clone(),
    };
    if needs_root(&arguments.command) && !rustix::process::geteuid().is_root() {
        let failure =
            Failure::new(failure::exit::FAILED, "only root can bake images and run servers");
        return Err(
            failure.hint("namespaces, mounts and the bridge are made by root; try again with sudo")
        );
    }
    Ok(home)
}

/// What serves goes on serving, whatever is missing for more: said in the log, and no reason to end.
fn remark_on_host(home: &Path) {
    for remark in doctor::remarks(home) {
        tracing::warn!("{remark}");
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let json = arguments.json;
    remote::take(&arguments.api, &arguments.command)?;
    let home = admitted(&arguments)?;
    // The processes come first: each owns its threads, and the launcher must have none.
    match arguments.command {
        command @ Command::Serve { .. } => serve(home, command),
        Command::Home(words) => command::home::run(&home, json, words),
        Command::Secret(words) => command::secret::run(&home, json, words),
        Command::Edge { log, handover_timeout } => {
            command::process::edge(&home, log, handover_timeout)
        }
        Command::Shim => command::process::shim(&home),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "hornero", &mut script);
            output::print_text(&String::from_utf8_lossy(&script))
        }
        Command::Autopsy { object } => command::autopsy::run(&home, json, object),
        Command::Bundle(words) => command::autopsy::bundles(&home, json, &words),
        Command::Upgrade(arguments) => command::upgrade::run(&home, json, &arguments),
        Command::Init(arguments) => command::init::run(json, &arguments),
        Command::Validate(source) => command::validate::run(json, &source),
        Command::Fmt(arguments) => command::format::run(json, &arguments),
        Command::Editor { file } => output::print_json(&command::editor::contents(file)),
        Command::Manual(arguments) => manual::write(&arguments),
        Command::Token(command) => command::access::token(json, &command),
        Command::Openapi => output::print_json(&hornero_api::document()),
        Command::Build { source, image, explain, verify, twice } => bake::build(
            &home,
            json,
            &source,
            image.as_deref(),
            bake::How { explain, verify, twice, base: None },
        ),
        Command::Lock { source, update } => bake::lock(&home, json, &source, update),
        Command::Reproduce { image } => reproducing::reproduce(&home, json, &image),
        Command::Image { command } => of_image(&home, json, command),
        Command::Verify { full, tree: Some(tree), image: Some(image), ignore, .. } => {
            let arguments = verify::TreeArguments { tree, image, ignore, full };
            verify::tree(&home, json, &arguments)
        }
        other => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(ask(&home, json, other)),
    }
}

/// The control process.
fn serve(home: PathBuf, command: Command) -> Result<(), Failure> {
    let Command::Serve { crash_at_append, logs, log, succeeding, witness } = command else {
        unreachable!("only that command is given")
    };
    log.begin();
    remark_on_host(&home);
    let home_settings = home_settings::take(&home);
    let edge_environment = log.environment();
    let options = hornero_control::Options {
        home,
        log_limits: logs.limits(home_settings.logs),
        bundle_limits: home_settings.bundles,
        budget: home_settings.budget,
        settings_fault: home_settings.fault,
        api: home_settings.api,
        alerts: home_settings.alerts,
        otlp: home_settings.otlp,
        crash_at_append,
        edge_environment,
        handover_timeout: succeeding.handover_timeout,
        succeed: succeeding.succeed,
        witness: witness.witness.or(home_settings.witness),
    };
    command::process::serve(&options, log)
}

/// The commands of the store.
fn of_image(home: &std::path::Path, json: bool, command: ImageCommand) -> Result<(), Failure> {
    match command {
        ImageCommand::Ls => image::list(home, json),
        ImageCommand::Inspect { image } => image::inspect(home, json, &image),
        ImageCommand::Verify { image } => image::verify(home, json, &image),
        ImageCommand::Sbom { image, format } => sbom::run(home, &image, format),
        ImageCommand::Diff { old, new } => diff::run(home, json, &old, &new),
        ImageCommand::Rebase { image, base, force } => {
            rebasing::rebase(home, json, &image, &base, force)
        }
        ImageCommand::Export(words) => export::export(home, json, &words),
        ImageCommand::Import(words) => transport::import(home, json, &words),
        ImageCommand::Push { image, reference, compression, plain_http } => {
            transport::push(home, json, &image, &reference, compression, plain_http)
        }
        ImageCommand::Pull { reference, name, max_size, plain_http } => {
            transport::pull(home, json, &reference, name, max_size, plain_http)
        }
        ImageCommand::Du => storage::disk_use(home, json),
        ImageCommand::Gc { dry_run, keep_releases, keep_days, ceiling, wait, logs } => {
            let rules = collect::Rules {
                releases: keep_releases,
                days: keep_days,
                ceiling,
                patience: wait,
                logs: logs.limits(home_settings::of(home).logs),
            };
            collect::collect(home, json, dry_run, rules)
        }
        ImageCommand::WhyKept { image } => collect::why_kept(home, json, &image),
        ImageCommand::Pin { image } => storage::pin(home, json, &image, true),
        ImageCommand::Unpin { image } => storage::pin(home, json, &image, false),
        ImageCommand::Untag { name } => storage::untag(home, json, &name),
        ImageCommand::Fsck { from, plain_http } => {
            storage::fsck(home, json, from.as_deref(), plain_http)
        }
    }
}

/// The commands that talk to the control process.
#[allow(clippy::too_many_lines, reason = "one arm for each command")]
async fn ask(home: &std::path::Path, json: bool, command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(arguments) => up::up(home, json, arguments).await,
        Command::Patch(arguments) => patching::patch(home, json, arguments).await,
        Command::Plan(arguments) => plan::plan(home, json, &arguments).await,
        Command::StateLint(arguments) => state_lint::run(home, json, &arguments).await,
        Command::Doctor => doctor::doctor(home, json).await,
        Command::Status => status::status(home, json).await,
        Command::Alerts(command) => command::alerts::run(home, json, command).await,
        Command::Dashboard(arguments) => command::access::dashboard(home, json, arguments).await,
        Command::Inventory { format } => command::inventory::run(home, json, format).await,
        Command::Top(arguments) => command::top::top(home, json, &arguments).await,
        Command::Settings => command::settings::run(home, json).await,
        Command::History { service } => history::history(home, json, &service).await,
        Command::Rollback { service, to, guards, reason } => {
            operation::rollback(home, json, service, to, (guards.overrides, reason)).await
        }
        Command::Recycle { object, reason } => recycle::run(home, json, object, reason).await,
        Command::Rehearse { service, reason } => rehearse::run(home, json, service, reason).await,
        Command::Job(command) => job::run(home, json, command).await,
        Command::Schedule(ScheduleCommand::Ls) => schedule::list(home, json).await,
        Command::Volume(command) => volume::run(home, json, command).await,
        Command::Guard(GuardCommand::Check { service }) => {
            command::guard::check(home, json, &service).await
        }
        Command::Quarantine(words) => command::quarantine::run(home, json, words).await,
        Command::BreakGlass(words) => command::glass::run(home, json, words).await,
        Command::Preview(command) => preview::run(home, json, command).await,
        Command::Run(arguments) => one_off::run(home, json, arguments).await,
        Command::Cancel { object, reason } => {
            one_off::cancel_named(home, json, object, reason).await
        }
        Command::Churn { service, since } => {
            churn::churn(home, json, service, since.as_deref()).await
        }
        Command::Resume { service, reason } => churn::resume(home, json, service, reason).await,
        Command::Rollout(command) => operation::steer(home, json, command).await,
        Command::Receipt { id: Some(id), wait: true, .. } => {
            receipt_wait::wait(home, json, id).await
        }
        Command::Receipt { id, service, .. } => receipt::receipt(home, json, id, service).await,
        Command::Verify { service, full, .. } => verify::services(home, json, service, full).await,
        Command::Logs(arguments) => logs::logs(home, json, &arguments).await,
        Command::Audit { command: None, from } => audit::audit(home, json, from).await,
        Command::Audit { command: Some(AuditCommand::Verify { against, witness }), .. } => {
            audit::audit_verify(home, json, against.as_deref(), witness).await
        }
        Command::Down { dir: Some(service), force: true, reason, .. } => {
            operation::end(home, json, &service.to_string_lossy(), reason).await
        }
        Command::Down { dir: None, force: true, .. } => operation::abandon(home, json),
        Command::Down { dir, all, guards, reason, force: false, variables: _ } => {
            let which = match (dir, all) {
                (_, true) => up::Which::Everything,
                (None, false) => up::Which::Here,
                (Some(dir), false) => up::Which::Declared(dir),
            };
            up::down(home, json, which, (guards.overrides, reason)).await
        }
        Command::Build { .. }
        | Command::Reproduce { .. }
        | Command::Lock { .. }
        | Command::Image { .. }
        | Command::Completions { .. }
        | Command::Init(_)
        | Command::Validate(_)
        | Command::Fmt(_)
        | Command::Editor { .. }
        | Command::Manual(_)
        | Command::Openapi
        | Command::Token(_)
        | Command::Home(_)
        | Command::Secret(_)
        | Command::Serve { .. }
        | Command::Edge { .. }
        | Command::Upgrade(_)
        | Command::Autopsy { .. }
        | Command::Bundle(_)
        | Command::Shim => unreachable!("handled before the runtime starts"),
    }
}

/// Whether a command makes anything; those that only look say for themselves what they may not see.
const fn needs_root(command: &Command) -> bool {
    match command {
        Command::Up(_)
        | Command::Patch(_)
        | Command::Run(_)
        | Command::Reproduce { .. }
        | Command::Build { .. }
        | Command::Down { .. }
        | Command::Home(_)
        | Command::Secret(_)
        | Command::Serve { .. }
        | Command::Upgrade(_)
        | Command::Edge { .. } => true,
        Command::Plan(_)
        | Command::StateLint(_)
        | Command::Doctor
        | Command::Status
        | Command::Top(_)
        | Command::Inventory { .. }
        | Command::Settings
        | Command::History { .. }
        | Command::Rollback { .. }
        | Command::Recycle { .. }
        | Command::Rehearse { .. }
        | Command::Job(_)
        | Command::Schedule(_)
        | Command::Volume(_)
        | Command::Guard(_)
        | Command::Preview(_)
        | Command::Quarantine(_)
        | Command::BreakGlass(_)
        | Command::Cancel { .. }
        | Command::Resume { .. }
        | Command::Churn { .. }
        | Command::Rollout(_)
        | Command::Receipt { .. }
        | Command::Lock { .. }
        | Command::Image { .. }
        | Command::Verify { .. }
        | Command::Logs(_)
        | Command::Autopsy { .. }
        | Command::Bundle(_)
        | Command::Audit { .. }
        | Command::Completions { .. }
        | Command::Init(_)
        | Command::Validate(_)
        | Command::Fmt(_)
        | Command::Editor { .. }
        | Command::Manual(_)
        | Command::Openapi
        | Command::Token(_)
        | Command::Dashboard(_)
        | Command::Alerts(_)
        | Command::Shim => false,
    }
}

/// Whether a command looks itself at what may be wrong with a home.
const fn cares_for_home(command: &Command) -> bool {
    matches!(command, Command::Home(_))
}

/// Whether a command has to do with a home at all.
const fn works_on_home(command: &Command) -> bool {
    !matches!(
        command,
        Command::Validate(_)
            | Command::Fmt(_)
            | Command::Editor { .. }
            | Command::Completions { .. }
            | Command::Manual(_)
            | Command::Token(_)
            | Command::Openapi
    )
}

/// Bytes that a home's path may have: its longest socket is `edge/admin.sock`, and a Unix socket's path has at most 107
/// (unix(7)).
const HOME_BYTES_MAX: usize = 107 - "/edge/admin.sock".len();

/// The same home, if sockets fit in it.
fn within_limits(home: PathBuf) -> Result<PathBuf, Failure> {
    let bytes = home.as_os_str().len();
    if bytes > HOME_BYTES_MAX {
        let text = format!("the path of the home has {bytes} bytes: `{}`", home.display());
        let hint =
            format!("a home has sockets, so its path may have {HOME_BYTES_MAX} bytes at most");
        return Err(Failure::new(failure::exit::USAGE, text).hint(hint));
    }
    Ok(home)
}
