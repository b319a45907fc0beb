//! Starting the control process where none runs, and waiting until it answers.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use hornero_api::{Client, ClientError, message::StatusReport};
use hornero_home::Opening;

use crate::failure::{Failure, exit};

/// How long a control process may take to answer: it reads its whole ledger first.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at the socket; short, since a user waits.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The control process's socket of a home.
pub fn socket(home: &Path) -> PathBuf {
    home.join("control.sock")
}

/// A client for the control process of `home`, which is started where none answers.
pub async fn ensure(home: &Path) -> Result<Client, Failure> {
    let client = Client::new(socket(home));
    if answers(&client).await? {
        return Ok(client);
    }
    let log = start(home)?;
    let deadline = Instant::now() + START_TIMEOUT;
    let (mut child, log_path) = log;
    loop {
        if answers(&client).await? {
            return Ok(client);
        }
        if let Some(status) = child.try_wait()? {
            // Another `up` may have started one at the same time; then that one answers.
            if answers(&client).await? {
                return Ok(client);
            }
            let failure = Failure::new(
                exit::UNREACHABLE,
                format!("the control process ended at its start ({status})"),
            );
            return Err(failure.hint(last_lines(&log_path)));
        }
        if Instant::now() >= deadline {
            let failure = Failure::new(exit::UNREACHABLE, "the control process does not answer");
            return Err(failure.hint(last_lines(&log_path)));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn answers(client: &Client) -> Result<bool, Failure> {
    match client.get::<StatusReport>("/v1/status").await {
        Ok(_) => Ok(true),
        Err(ClientError::Unreachable { .. } | ClientError::Broken(_)) => Ok(false),
        Err(error @ ClientError::Refused(..)) => Err(error.into()),
    }
}

fn start(home: &Path) -> Result<(std::process::Child, PathBuf), Failure> {
    hornero_home::prepare(home)?;
    let log_path = home.join("control.log");
    let log = hornero_home::open(&log_path, Opening::Append)?;
    let mut command = Command::new(hornero_control::OWN_PROGRAM);
    command.arg0("hornero").arg("--home").arg(home).arg("serve");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir("/");
    // What this command was started with, such as a lock that a script holds, is not control's to keep open.
    // SAFETY: between fork and exec only a system call is made.
    unsafe {
        command.pre_exec(|| {
            match libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    // Its own process group: Ctrl-C at the client's terminal is not meant for it.
    command.process_group(0);
    Ok((command.spawn()?, log_path))
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    let tail: Vec<&str> = lines.into_iter().rev().collect();
    format!("`{}` ends with:\n  {}", log.display(), tail.join("\n  "))
}
