//! SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677), as PostgreSQL asks for passwords.

use std::num::NonZeroU32;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    digest, hmac, pbkdf2,
    rand::{SecureRandom as _, SystemRandom},
};

use crate::ProbeError;

/// The mechanism's name.
pub(crate) const MECHANISM: &str = "SCRAM-SHA-256";
/// The most rounds that a server may ask for: PostgreSQL's default is 4096, and each takes a moment.
const ROUNDS_MAX: u32 = 1_000_000;
/// What stands for "no channel binding".
const HEADER: &str = "n,,";

/// A client that has sent its first message.
pub(crate) struct Scram {
    nonce: String,
    first_bare: String,
    password: Vec<u8>,
}

/// What the server has to answer to the client's last message.
pub(crate) struct ServerProof(String);

impl Scram {
    /// With a nonce of its own; the server knows the user already.
    pub fn begin(password: &[u8]) -> Result<Self, ProbeError> {
        let mut random = [0; 18];
        let failed = |_| ProbeError::Login("there is no randomness".to_owned());
        SystemRandom::new().fill(&mut random).map_err(failed)?;
        Ok(Self::with_nonce(password, STANDARD.encode(random)))
    }

    fn with_nonce(password: &[u8], nonce: String) -> Self {
        let first_bare = format!("n=,r={nonce}");
        Self { nonce, first_bare, password: password.to_vec() }
    }

    /// The first message.
    pub fn first(&self) -> String {
        format!("{HEADER}{}", self.first_bare)
    }

    /// The last message, which follows from the server's first one; and what the server has to say to it.
    pub fn last(&self, server_first: &str) -> Result<(String, ServerProof), ProbeError> {
        let foreign = || ProbeError::foreign("its challenge is no SCRAM");
        let field = |name: &str| {
            server_first.split(',').find_map(|part| part.strip_prefix(name)).ok_or_else(foreign)
        };
        let (nonce, salt, rounds) = (field("r=")?, field("s=")?, field("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(foreign());
        }
        let salt = STANDARD.decode(salt).map_err(|_| foreign())?;
        let rounds: u32 = rounds.parse().map_err(|_| foreign())?;
        let rounds = NonZeroU32::new(rounds).filter(|rounds| rounds.get() <= ROUNDS_MAX);
        let rounds = rounds.ok_or_else(foreign)?;
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, &self.password, &mut salted);
        let sign = |key: &[u8], text: &[u8]| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
        };
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(HEADER));
        let text = format!("{},{server_first},{without_proof}", self.first_bare);
        let signature = sign(stored_key.as_ref(), text.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let expected = sign(&sign(&salted, b"Server Key"), text.as_bytes());
        let last = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((last, ServerProof(format!("v={}", STANDARD.encode(expected)))))
    }
}

impl ServerProof {
    /// Whether the server knows the password, too.
    pub fn is(&self, server_last: &str) -> bool {
        self.0 == server_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3, but for the name of the user, which PostgreSQL has already.
    #[test]
    fn the_exchange_of_the_standard() {
        let mut scram = Scram::with_nonce(b"pencil", "rOprNGfwEbeRWgbNEkqO".to_owned());
        scram.first_bare = "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned();
        let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (last, expected) = scram.last(server_first).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(expected.is("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        for foreign in [
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            "r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096",
            "",
        ] {
            assert!(scram.last(foreign).is_err(), "{foreign}");
        }
    }
}
