//! Enhanced authentication of a client whose packets stand in the scenario: the values of
//! `${scram.first}`, `${scram.final}` and `${scram.server}`.
//!
//! Judges nothing: whether the server says what `${scram.server}` holds is a line of the scenario.

use super::random::secret;
use crate::broker::auth::prover::{Proof, Prover};
use crate::mqtt::Packet;
use crate::mqtt::notation::PacketLine;

/// An exchange of one client; a new one begins with each `${scram.first}`.
#[derive(Debug, Default)]
pub struct Exchange {
    prover: Option<Prover>,
    proof: Option<Proof>,
    /// Why there is no proof.
    trouble: Option<String>,
}

/// True for a packet that begins an exchange.
pub fn begins(line: &PacketLine) -> bool {
    line.fields.iter().any(|field| field.value.contains("${scram.first}"))
}

/// True for the name of a variable of an exchange.
pub fn is_variable(name: &str) -> bool {
    name.starts_with("scram.")
}

impl Exchange {
    /// A new exchange of this user.
    pub fn begin(&mut self, user: &str, password: &str) {
        *self = Self { prover: Some(Prover::new(user, password.as_bytes(), &secret())), ..Self::default() };
    }

    /// A packet that the scenario expected: an AUTH may be the challenge.
    pub fn heard(&mut self, packet: &Packet) {
        let (Packet::Auth(auth), Some(prover)) = (packet, &self.prover) else { return };
        let Some(challenge) = auth.properties.authentication_data() else { return };
        // The last AUTH of a re-authentication proves the server; it is no challenge.
        if self.proof.is_some() {
            return;
        }
        match prover.answer(&challenge) {
            Ok(proof) => self.proof = Some(proof),
            Err(failure) => self.trouble = Some(format!("the server's challenge is {failure}")),
        }
    }

    /// The value of a variable, if it is one of these and known already.
    pub fn value(&self, name: &str) -> Option<String> {
        match name {
            "scram.first" => self.prover.as_ref().map(Prover::first),
            "scram.final" => self.proof.as_ref().map(|proof| proof.message.clone()),
            "scram.server" => self.proof.as_ref().map(|proof| proof.expected.clone()),
            _ => None,
        }
    }

    /// Why a variable has no value.
    pub fn trouble(&self) -> String {
        self.trouble.clone().unwrap_or_else(|| "no AUTH with a challenge came".to_owned())
    }
}
