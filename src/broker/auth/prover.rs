//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the client's half of an exchange, without channel binding:
//! for scenarios that play a client of a broker's enhanced authentication.
//!
//! Messages in, messages out; the nonce is handed in. Believes no server: the caller compares what
//! it says at the end with [`Proof::expected`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::scram::{Failure, derive, mac};

/// More rounds than this are a server's way to keep us busy.
const MOST_ITERATIONS: u32 = super::Hashing::MOST_ITERATIONS;

/// An exchange from the client's side.
#[derive(Clone)]
pub struct Prover {
    password: Vec<u8>,
    bare: String,
    nonce: String,
}

/// The answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The client's final message.
    pub message: String,
    /// What a server that knows the password says to it.
    pub expected: String,
}

/// The header of a client that knows nothing of channel binding.
const HEADER: &str = "n,,";

impl Prover {
    /// `nonce` is printable, without comma, and never the same again.
    pub fn new(username: &str, password: &[u8], nonce: &str) -> Self {
        let name = username.replace('=', "=3D").replace(',', "=2C");
        Self { password: password.to_vec(), bare: format!("n={name},r={nonce}"), nonce: nonce.to_owned() }
    }

    /// The client's first message.
    pub fn first(&self) -> String {
        format!("{HEADER}{}", self.bare)
    }

    /// Answers the server's first message: nonce, salt, rounds.
    pub fn answer(&self, challenge: &[u8]) -> Result<Proof, Failure> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| Failure::Malformed)?;
        let mut fields = challenge.split(',');
        let mut field =
            |name: &str| fields.next().and_then(|field| field.strip_prefix(name)).ok_or(Failure::Malformed);
        let (nonce, salt, rounds) = (field("r=")?, field("s=")?, field("i=")?);
        let salt = STANDARD.decode(salt).map_err(|_| Failure::Malformed)?;
        let rounds: u32 = rounds.parse().map_err(|_| Failure::Malformed)?;
        // A server that adds nothing to the nonce would let an old proof be used again.
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(Failure::Malformed);
        }
        if rounds == 0 || rounds > MOST_ITERATIONS {
            return Err(Failure::Unsupported);
        }
        let keys = derive(rounds, &salt, &self.password);
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(HEADER));
        let signed = [&*self.bare, ",", challenge, ",", &without_proof].map(str::as_bytes);
        let mut proof = keys.client;
        let signature = mac(&Sha256::digest(keys.client), &signed);
        proof.iter_mut().zip(signature).for_each(|(byte, mask)| *byte ^= mask);
        Ok(Proof {
            message: format!("{without_proof},p={}", STANDARD.encode(proof)),
            expected: format!("v={}", STANDARD.encode(mac(&keys.server, &signed))),
        })
    }
}

impl std::fmt::Debug for Prover {
    /// Keeps the password out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prover").field("bare", &self.bare).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3: user `user`, password `pencil`.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn the_example_of_the_rfc() {
        let prover = Prover::new("user", b"pencil", NONCE);
        assert_eq!(prover.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let proof = prover.answer(CHALLENGE.as_bytes()).expect("a challenge");
        assert_eq!(
            proof.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(proof.expected, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_ne!(Prover::new("user", b"pen", NONCE).answer(CHALLENGE.as_bytes()), Ok(proof));
    }

    #[test]
    fn names_are_escaped_and_challenges_are_doubted() {
        let prover = Prover::new("a,b=c", b"pencil", NONCE);
        assert_eq!(prover.first(), "n,,n=a=2Cb=3Dc,r=rOprNGfwEbeRWgbNEkqO");
        let failed = |changed: &str, to: &str| prover.answer(CHALLENGE.replace(changed, to).as_bytes()).err();
        assert_eq!(failed("r=rOp", "r=xOp"), Some(Failure::Malformed));
        assert_eq!(
            failed("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", ""),
            Some(Failure::Malformed),
            "no nonce of its own"
        );
        assert_eq!(failed("s=W22Z", "s=*"), Some(Failure::Malformed));
        assert_eq!(failed("i=4096", "i=0"), Some(Failure::Unsupported));
        assert_eq!(failed("i=4096", "i=4294967295"), Some(Failure::Unsupported));
        assert_eq!(failed(",i=4096", ""), Some(Failure::Malformed));
    }
}
