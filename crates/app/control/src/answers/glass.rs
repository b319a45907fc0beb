//! Sessions in servers.

use std::sync::Arc;

use hornero_api::message::{GlassRequest, GlassTyped, Nothing};
use hornero_driver::Driver;
use hornero_model::{
    GlassId, GlassSession, InstanceId, InstanceState, Millis, ReleaseNumber, ServiceName,
    Timestamp, error_chain,
};
use hornero_rollout::World;
use hyper::StatusCode;

use super::runs::asked;
use crate::{
    answer::{Answer, ApiRefusal, json, stream},
    api::{Api, not_found},
    glass::{self, GlassWish, NotBegun, NotTyped, Typed},
    request::Caller,
    tail::new_tail,
};

/// Sessions at once: each is a person, and a server that is replaced.
const SESSIONS_MAX: usize = 8;
/// The longest that one goes on.
const TIME_MAX: Millis = Millis(4 * 3_600_000);
/// The shortest.
const TIME_MIN: Millis = Millis(1_000);
/// The longest command, as JSON: it has to fit a message to what starts it.
const COMMAND_BYTES_MAX: usize = 32 << 10;
/// The most words of a command.
const COMMAND_WORDS_MAX: usize = 256;
/// The longest name of a terminal.
const TERMINAL_NAME_MAX: usize = 64;
/// The most that is typed at once.
const TYPED_BYTES_MAX: usize = 4 << 10;

fn bad(text: impl Into<String>) -> ApiRefusal {
    ApiRefusal::new(StatusCode::BAD_REQUEST, "bad_request", text)
}

/// What can't be right whatever runs.
fn sensible(request: &GlassRequest) -> Result<(), ApiRefusal> {
    if request.intent.why.trim().is_empty() {
        return Err(bad("breaking the glass needs a reason"));
    }
    if !(TIME_MIN..=TIME_MAX).contains(&request.time) {
        let text = format!("a session goes on from {TIME_MIN} to {TIME_MAX}, not {}", request.time);
        return Err(bad(text));
    }
    if let Some(screen) = &request.terminal
        && !is_terminal_name(&screen.name)
    {
        let text =
            format!("a terminal's name has 1 to {TERMINAL_NAME_MAX} letters, digits or `.+_-`");
        return Err(bad(text));
    }
    sensible_command(&request.command)
}

fn is_terminal_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".+_-".contains(&byte);
    (1..=TERMINAL_NAME_MAX).contains(&name.len()) && name.bytes().all(fits)
}

fn sensible_command(command: &[String]) -> Result<(), ApiRefusal> {
    if command.first().is_none_or(String::is_empty) || command.len() > COMMAND_WORDS_MAX {
        return Err(bad(format!("a command has 1 to {COMMAND_WORDS_MAX} words")));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(bad("no word of a command holds a zero byte"));
    }
    let bytes = serde_json::to_vec(command).map_err(ApiRefusal::internal)?.len();
    match bytes <= COMMAND_BYTES_MAX {
        true => Ok(()),
        false => Err(bad(format!("a command has at most {COMMAND_BYTES_MAX} bytes as JSON"))),
    }
}

/// Whether a server may be entered; its service and release.
fn checked(
    world: &World,
    id: &InstanceId,
    leaves: bool,
) -> Result<(ServiceName, ReleaseNumber), ApiRefusal> {
    let refused = |code: &str, text: String| Err(ApiRefusal::new(StatusCode::CONFLICT, code, text));
    let Some(instance) = world.instances.get(id) else {
        return Err(not_found("instance", id.as_str()));
    };
    if instance.quarantine.is_some() {
        let text = format!("`{id}` is quarantined, and stands still or is about to");
        return refused("quarantined_already", text);
    }
    if instance.state != InstanceState::Serving {
        return refused("not_serving", format!("`{id}` is {}, and does not serve", instance.state));
    }
    if leaves && world.spec_of(id).is_some_and(|spec| spec.holds_volumes()) {
        let text = format!("`{id}` holds a volume, so that no other can take its place meanwhile");
        return refused("holds_volume", text);
    }
    if let Some(known) = world.entered(id) {
        let text = format!("`{}` is in `{id}` already, by `{}`", known.by.who, known.session.id);
        return refused("glass_broken_already", text);
    }
    if world.open_glass().count() >= SESSIONS_MAX {
        let text = format!("{SESSIONS_MAX} sessions go on already");
        return refused("too_many_sessions", text);
    }
    Ok((instance.service.clone(), instance.release))
}

impl Api {
    /// Has a command run in a server, and streams what it writes.
    pub async fn break_glass(&self, caller: Caller, request: GlassRequest) -> Answer {
        sensible(&request)?;
        let GlassRequest { instance, command, time, leaves, terminal, intent } = request;
        let turn = Arc::clone(&self.glass.turn).lock_owned().await;
        let id = instance.clone();
        let look = move |driver: &Driver| checked(driver.world(), &id, leaves);
        let (service, release) = self.ask(look).await??;
        let by = asked(caller, intent, "break-glass");
        let session = GlassSession {
            id: GlassId::new(format!("glass-{}", new_tail())).map_err(ApiRefusal::internal)?,
            instance,
            service,
            release,
            command,
            terminal: terminal.is_some(),
            until: Timestamp::now().after(time),
            leaves,
        };
        let screen = terminal.map(|of| (of.name, of.columns, of.rows));
        let (lines, answer) = stream();
        let wish = GlassWish { session, by, screen, lines, turn, inputs: self.inputs.clone() };
        let begun = self.glass.begin(wish).map_err(ApiRefusal::internal)?;
        match begun.await.map_err(ApiRefusal::internal)? {
            Ok(()) => answer,
            Err(NotBegun::Recording(error)) => Err(not_recorded(&error)),
            Err(NotBegun::Ledger(error)) => Err(ApiRefusal::internal(error_chain(&error))),
        }
    }

    /// Types in a session.
    pub fn glass_input(&self, caller: &Caller, session: &str, typed: GlassTyped) -> Answer {
        let GlassTyped { text, size } = typed;
        if text.len() > TYPED_BYTES_MAX {
            return Err(bad(format!("at most {TYPED_BYTES_MAX} bytes are typed at once")));
        }
        match self.glass.typed(session, &caller.user, Typed { text, size }) {
            Ok(()) => json(&Nothing {}),
            Err(NotTyped::Nobody) => Err(not_found("session", session)),
            Err(NotTyped::Full) => {
                let text = format!("`{session}` has not taken yet what was typed before");
                Err(ApiRefusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", text))
            }
        }
    }

    /// Every session that is known.
    pub async fn glass_sessions(&self) -> Answer {
        json(&self.ask(|driver: &Driver| glass::shown(driver.world())).await?)
    }
}

/// No recording, no session.
fn not_recorded(error: &std::io::Error) -> ApiRefusal {
    let text = format!("the session can't be recorded, so there is none: {error}");
    let refusal = ApiRefusal::new(StatusCode::INSUFFICIENT_STORAGE, "not_recorded", text);
    refusal.hint(
        "recordings lie in `glass` of the home: there has to be room, and a directory of root's",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_fits_a_message_and_a_terminal_has_a_name() {
        let words = |count: usize, word: &str| vec![word.to_owned(); count];
        assert!(sensible_command(&words(256, "x")).is_ok());
        assert!(sensible_command(&words(1, &"x".repeat(32_000))).is_ok());
        assert!(sensible_command(&words(257, "x")).is_err());
        assert!(sensible_command(&[]).is_err() && sensible_command(&words(1, "")).is_err());
        assert!(sensible_command(&words(1, "a\0b")).is_err());
        // As JSON each of them is six bytes.
        assert!(sensible_command(&words(1, &"\u{1}".repeat(8_000))).is_err());
        assert!(is_terminal_name("xterm-256color") && is_terminal_name(&"x".repeat(64)));
        for name in ["", "a b", "a=b", "a\0", &"x".repeat(65)] {
            assert!(!is_terminal_name(name), "{name:?}");
        }
    }
}
