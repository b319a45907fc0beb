//! What `token` prints, and what `settings` says of the API.

use hornero_model::{ApiSettings, Role};
use schemars::JsonSchema;
use serde::Serialize;

/// A token that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TokenReport {
    /// Whose it is.
    pub name: String,
    /// What it may.
    pub role: Role,
    /// The token; it stands nowhere else.
    pub token: String,
    /// Its SHA-256 as hex digits.
    pub sha256: String,
    /// The block for `api` of `settings.hcl`.
    pub block: String,
}

/// Who may use the API, and where.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AccessSettings {
    /// The address and port of TCP; null for none.
    pub listen: Option<String>,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The Unix socket for members of groups; null for none.
    pub socket: Option<String>,
    /// Tokens, certificates and groups.
    pub granted: Vec<GrantedRole>,
}

/// What somebody may.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GrantedRole {
    /// `token`, `certificate` or `group`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it may.
    pub role: Role,
}

impl AccessSettings {
    /// What some settings say.
    pub fn of(settings: &ApiSettings) -> Self {
        let granted = |kind: &str, name: &str, role| GrantedRole {
            kind: kind.to_owned(),
            name: name.to_owned(),
            role,
        };
        let listener = settings.listener.as_ref();
        let tokens = listener.iter().flat_map(|listener| &listener.tokens);
        let clients = listener.iter().flat_map(|listener| &listener.clients);
        let groups = settings.groups.iter();
        let all = tokens.map(|token| granted("token", &token.name, token.role));
        let all =
            all.chain(clients.map(|client| granted("certificate", &client.name, client.role)));
        let all = all.chain(groups.map(|group| granted("group", &group.name, group.role)));
        Self {
            listen: listener.map(|listener| listener.address.to_string()),
            tls: listener.is_some_and(|listener| listener.tls.is_some()),
            socket: settings.socket.clone(),
            granted: all.collect(),
        }
    }
}
