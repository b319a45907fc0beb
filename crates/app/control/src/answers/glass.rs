//! Sessions in servers.

use std::sync::Arc;

use hornero_api::message::{GlassRequest, GlassTyped, Nothing};
use hornero_driver::{Driver, Observation};
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
    glass::{self, GlassBegun, Typed},
    input::Input,
    request::Caller,
    tail::new_tail,
};

/// Sessions at once: each is a person, and a server that is replaced.
const SESSIONS_MAX: usize = 8;
/// The longest that one goes on.
const TIME_MAX: Millis = Millis(4 * 3_600_000);
/// The shortest.
const TIME_MIN: Millis = Millis(1_000);
/// The longest line of a command, all words together.
const COMMAND_BYTES_MAX: usize = 16 << 10;

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
    let bytes: usize = request.command.iter().map(String::len).sum();
    match request.command.first() {
        Some(first) if !first.is_empty() && bytes <= COMMAND_BYTES_MAX => Ok(()),
        Some(_) | None => Err(bad(format!("a command has 1 to {COMMAND_BYTES_MAX} bytes"))),
    }
}

/// Whether a server may be entered; its service and release.
fn checked(world: &World, id: &InstanceId) -> Result<(ServiceName, ReleaseNumber), ApiRefusal> {
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
        let _turn = self.glass.turn.lock().await;
        let id = instance.clone();
        let look = move |driver: &Driver| checked(driver.world(), &id);
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
        let size = screen.as_ref().map(|(_, columns, rows)| (*columns, *rows));
        let glass = Arc::clone(&self.glass);
        let begin = move || {
            let recording = glass.record(&session, &by, size).map_err(not_recorded)?;
            let told = glass.tell_ledger(&session, &by);
            told.map_err(|error| ApiRefusal::internal(error_chain(&error)))?;
            Ok::<_, ApiRefusal>(GlassBegun { session, by, recording, screen })
        };
        let begun = tokio::task::spawn_blocking(begin).await.map_err(ApiRefusal::internal)??;
        if begun.session.leaves {
            self.inputs.send(Input::Observe(Observation::Tick)).map_err(ApiRefusal::internal)?;
        }
        let (lines, answer) = stream();
        self.glass.carry(begun, lines);
        answer
    }

    /// Types in a session.
    pub fn glass_input(&self, caller: &Caller, session: &str, typed: GlassTyped) -> Answer {
        let GlassTyped { text, size } = typed;
        match self.glass.typed(session, &caller.user, Typed { text, size }) {
            true => json(&Nothing {}),
            false => Err(not_found("session", session)),
        }
    }

    /// Every session that is known.
    pub async fn glass_sessions(&self) -> Answer {
        json(&self.ask(|driver: &Driver| glass::shown(driver.world())).await?)
    }
}

/// No recording, no session.
fn not_recorded(error: std::io::Error) -> ApiRefusal {
    let text = format!("the session can't be recorded, so there is none: {error}");
    let refusal = ApiRefusal::new(StatusCode::INSUFFICIENT_STORAGE, "not_recorded", text);
    refusal.hint(
        "recordings lie in `glass` of the home: there has to be room, and a directory of root's",
    )
}
