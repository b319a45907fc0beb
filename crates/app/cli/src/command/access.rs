//! `token` and `dashboard`: what lets tools and browsers in.

use std::path::Path;

use hornero_api::message::{LoginReport, LoginRequest};
use hornero_model::{Digest, Role, Timestamp};

use crate::{
    arguments::{DashboardArguments, TokenCommand},
    command::{absent, secret},
    failure::{Failure, exit},
    output::{age, print_json, print_text},
    reports::TokenReport,
};

/// Random bytes of a token: 256 bits.
const TOKEN_BYTES: usize = 32;

/// `hornero token`.
pub fn token(json: bool, command: &TokenCommand) -> Result<(), Failure> {
    let TokenCommand::New { name, role } = command;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        let text =
            "the name of a token has letters, digits, `-`, `_`, `.` and `@`; at most 64 of them";
        return Err(Failure::new(exit::USAGE, text));
    }
    let token = format!("hrn_{}", String::from_utf8_lossy(&secret::random(TOKEN_BYTES)?));
    let report = made(name, *role, token);
    match json {
        true => print_json(&report),
        false => print_text(&format!(
            "token: {}\n\nNothing keeps it. In `api` of the home's `settings.hcl`, before control starts anew:\n\n{}",
            report.token, report.block
        )),
    }
}

fn made(name: &str, role: Role, token: String) -> TokenReport {
    let sha256 = Digest::of(token.as_bytes()).hex();
    let block = format!(
        "  token \"{name}\" {{\n    role   = \"{role}\"\n    sha256 = \"{sha256}\"\n  }}\n"
    );
    TokenReport { name: name.to_owned(), role, token, sha256, block }
}

/// `hornero dashboard`.
pub async fn dashboard(
    home: &Path,
    json: bool,
    DashboardArguments { role, port }: DashboardArguments,
) -> Result<(), Failure> {
    let request = LoginRequest { role, port };
    let report: LoginReport = absent::client(home).post("/v1/logins", &request).await?;
    match json {
        true => print_json(&report),
        false => print_text(&format!(
            "{}\nvalid once, for {}; the browser may then what a {} may, for twelve hours\n",
            report.url,
            age(report.until, Timestamp::now()),
            report.role
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_lets_the_token_in() {
        let report = made("ci", Role::Releaser, "hrn_secret".to_owned());
        let text = format!("api {{\n  listen = \"127.0.0.1:8443\"\n{}}}\n", report.block);
        let settings = hornero_spec::settings("settings.hcl", text.as_bytes()).unwrap();
        let token = &settings.api.listener.unwrap().tokens[0];
        assert_eq!((token.name.as_str(), token.role), ("ci", Role::Releaser));
        assert_eq!(token.sha256, Digest::of(b"hrn_secret"));
        assert!(!report.block.contains("hrn_secret"));
    }
}
