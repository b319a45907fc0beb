//! Who asks, and how browsers get in.

use std::sync::Arc;

use hornero_api::message::{LoginReport, LoginRequest, SessionReport};
use hornero_model::{Role, Timestamp};
use hyper::StatusCode;

use crate::{
    access::ways::NoWay,
    answer::{Answer, ApiRefusal, json},
    api::Api,
    request::Caller,
};

impl Api {
    /// Who asks, and what they may.
    pub fn session(&self, caller: Caller) -> Answer {
        caller.needs(Role::Viewer, "the API")?;
        let Caller { user, role, until, .. } = caller;
        json(&SessionReport { user, role: role.unwrap_or(Role::Viewer), until })
    }

    /// Makes a link for a browser, which may at most what whoever asks may.
    pub fn login(self: &Arc<Self>, caller: &Caller, wanted: LoginRequest) -> Answer {
        if !caller.is_local {
            let text = "links for browsers are made on the host alone";
            return Err(ApiRefusal::new(StatusCode::FORBIDDEN, "only_local", text)
                .hint("`hornero dashboard`, on the host"));
        }
        let role = wanted.role.unwrap_or(Role::Viewer);
        caller.needs(role, "such a link")?;
        if wanted.port.is_some() {
            // Root listens there.
            caller.needs(Role::Admin, "to choose the port")?;
        }
        let opened = self.ways.for_browsers(wanted.port, self).map_err(|error| {
            let refusal = ApiRefusal::new(StatusCode::CONFLICT, "no_way", error.to_string());
            match error {
                NoWay::Elsewhere(_) => refusal.hint("without `--port` the link leads there"),
                NoWay::Closed(..) => refusal.hint("`hornero status` says how it stands with it"),
                NoWay::Taken(..) => refusal.hint("name another `--port`, or none"),
            }
        })?;
        let (code, until) = self.ways.logins.new_code(&caller.user, role, Timestamp::now());
        json(&LoginReport { url: format!("{opened}/login?code={code}"), role, until })
    }
}
