//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's half of an exchange, without channel binding.
//!
//! Messages in, messages out; what is random is handed in. Neither side learns the password from the
//! other, and nobody learns from an exchange whether a user exists: a name that is not known gets a
//! salt all the same, and its exchange goes on until the proof.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The name of the method in MQTT (4.12) and SASL.
pub const METHOD: &str = "SCRAM-SHA-256";

/// Bytes of a client's nonce.
const LONGEST_NONCE: usize = 1024;

/// Bytes of SHA-256.
pub(super) const HASH: usize = 32;
type Hash = [u8; HASH];

/// What a server keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored: Hash,
    pub(super) server: Hash,
}

impl fmt::Debug for Keys {
    /// Keeps keys out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// What RFC 5802 makes of a password.
pub(super) struct Derived {
    /// `ClientKey`, which only the client has.
    pub(super) client: Hash,
    /// `StoredKey`.
    pub(super) stored: Hash,
    /// `ServerKey`.
    pub(super) server: Hash,
}

/// The keys of a password.
pub(super) fn derive(iterations: u32, salt: &[u8], password: &[u8]) -> Derived {
    let mut salted = Hash::default();
    pbkdf2::pbkdf2_hmac::<Sha256>(&normalised(password), salt, iterations, &mut salted);
    let client = mac(&salted, &[b"Client Key"]);
    Derived { client, stored: Sha256::digest(client).into(), server: mac(&salted, &[b"Server Key"]) }
}

/// `SASLprep` (RFC 4013), which RFC 5802 wants. A password that it does not allow is taken as it is.
fn normalised(password: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok());
    text.map_or_else(|| password.to_vec(), |text| text.into_owned().into_bytes())
}

/// What a broker draws nonces from, and salts for users that do not exist. Unknown to anybody else.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Of bytes that nobody can guess.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The server's nonce of an exchange; `number` must be another each time.
    pub fn nonce(&self, number: u64) -> String {
        STANDARD.encode(&mac(&self.0, &[b"nonce", &number.to_be_bytes()])[..18])
    }

    /// Keys of a user that does not exist, as much like `like` as can be seen from outside, and the
    /// same whenever they are asked for.
    pub(super) fn keys(&self, username: &str, like: &Keys) -> Keys {
        let of = |what: &[u8], n: u8| mac(&self.0, &[what, &[n], username.as_bytes()]);
        let salt = (0..=u8::MAX).flat_map(|n| of(b"salt", n)).take(like.salt.len()).collect();
        Keys { iterations: like.iterations, salt, stored: of(b"stored", 0), server: of(b"server", 0) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Why an exchange fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No message of the protocol, or one that answers another.
    #[error("a message that is none of SCRAM")]
    Malformed,
    /// Channel binding, another identity, or an extension that must be understood.
    #[error("something that this server does not do")]
    Unsupported,
    /// The client does not know the password, or there is no such user.
    #[error("a proof that proves nothing")]
    Proof,
}

/// The client's first message, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// Who it says it is.
    pub username: String,
    /// The header, which the final message repeats.
    header: String,
    bare: String,
    nonce: String,
}

impl First {
    /// Reads `n,,n=USER,r=NONCE`.
    pub fn parse(message: &[u8]) -> Result<Self, Failure> {
        let text = text(message)?;
        let (flag, rest) = text.split_once(',').ok_or(Failure::Malformed)?;
        let (identity, bare) = rest.split_once(',').ok_or(Failure::Malformed)?;
        let header = &text[..text.len() - bare.len()];
        match flag {
            // "y": the client would, but takes us for a server that cannot. It is right.
            "n" | "y" => {}
            other if other.starts_with("p=") => return Err(Failure::Unsupported),
            _ => return Err(Failure::Malformed),
        }
        let mut fields = bare.split(',');
        let name = match fields.next().ok_or(Failure::Malformed)? {
            extension if extension.starts_with("m=") => return Err(Failure::Unsupported),
            field => field.strip_prefix("n=").ok_or(Failure::Malformed)?,
        };
        let username = unescaped(name)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(Failure::Malformed)?;
        let printable = |byte: u8| matches!(byte, 0x21..=0x7e);
        if nonce.is_empty() || nonce.len() > LONGEST_NONCE || !nonce.bytes().all(printable) {
            return Err(Failure::Malformed);
        }
        if !identity.is_empty() {
            // To act for somebody else.
            let other = identity.strip_prefix("a=").ok_or(Failure::Malformed)?;
            if unescaped(other)? != username {
                return Err(Failure::Unsupported);
            }
        }
        let (header, bare, nonce) = (header.to_owned(), bare.to_owned(), nonce.to_owned());
        Ok(Self { username, header, bare, nonce })
    }
}

/// An exchange that waits for the client's proof.
#[derive(Debug)]
pub struct Challenge {
    first: First,
    keys: Keys,
    nonce: String,
    message: String,
}

impl Challenge {
    /// Answers a first message. `keys` are the user's, `nonce` is printable and without comma.
    pub fn new(first: First, keys: Keys, nonce: &str) -> Self {
        let nonce = format!("{}{nonce}", first.nonce);
        let salt = STANDARD.encode(&keys.salt);
        let message = format!("r={nonce},s={salt},i={}", keys.iterations);
        Self { first, keys, nonce, message }
    }

    /// The server's first message: nonce, salt, rounds.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Who the client says it is.
    pub fn username(&self) -> &str {
        &self.first.username
    }

    /// What its proof is checked with.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Checks the client's final message. The answer is the server's: `v=` and its own proof.
    pub fn finish(&self, message: &[u8]) -> Result<String, Failure> {
        let text = text(message)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Failure::Malformed)?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c=")).ok_or(Failure::Malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(Failure::Malformed)?;
        let is_header = STANDARD.decode(binding).is_ok_and(|bytes| bytes == self.first.header.as_bytes());
        if !is_header || nonce != self.nonce {
            return Err(Failure::Malformed);
        }
        let proof = STANDARD.decode(proof).map_err(|_| Failure::Malformed)?;
        let proof = Hash::try_from(proof).map_err(|_| Failure::Malformed)?;
        let signed = [&*self.first.bare, ",", &self.message, ",", without_proof].map(str::as_bytes);
        let signature = mac(&self.keys.stored, &signed);
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(byte, mask)| *byte ^= mask);
        if !bool::from(Sha256::digest(client_key).ct_eq(&self.keys.stored)) {
            return Err(Failure::Proof);
        }
        Ok(format!("v={}", STANDARD.encode(mac(&self.keys.server, &signed))))
    }
}

fn text(message: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(message).ok().filter(|text| !text.contains('\0')).ok_or(Failure::Malformed)
}

/// A name with `=2C` for a comma and `=3D` for an equals sign.
fn unescaped(name: &str) -> Result<String, Failure> {
    let mut parts = name.split('=');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Failure::Malformed),
        };
        out.push(sign);
        out.push_str(rest);
    }
    if out.is_empty() { Err(Failure::Malformed) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3: user `user`, password `pencil`.
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const ANSWER: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn keys(password: &str) -> Keys {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let Derived { stored, server, .. } = derive(4096, &salt, password.as_bytes());
        Keys { iterations: 4096, salt, stored, server }
    }

    fn challenge(first: &str, password: &str) -> Challenge {
        Challenge::new(First::parse(first.as_bytes()).expect("good"), keys(password), NONCE)
    }

    #[test]
    fn the_example_of_the_rfc() {
        let challenge = challenge(FIRST, "pencil");
        assert_eq!((challenge.username(), challenge.message()), ("user", CHALLENGE));
        assert_eq!(challenge.finish(FINAL.as_bytes()).as_deref(), Ok(ANSWER));
    }

    #[test]
    fn what_proves_nothing() {
        assert_eq!(challenge(FIRST, "pen").finish(FINAL.as_bytes()), Err(Failure::Proof));
        let found = |text: String| challenge(FIRST, "pencil").finish(text.as_bytes());
        assert_eq!(found(FINAL.replace("p=d", "p=e")), Err(Failure::Proof));
        for (part, other) in
            [("c=biws", "c=eSws"), ("k0,", "k1,"), ("r=r", "r=R"), (",p=", ",q="), ("VQ=", "")]
        {
            assert_eq!(found(FINAL.replace(part, other)), Err(Failure::Malformed), "{part}");
        }
        // What follows the nonce is proved too.
        assert_eq!(found(FINAL.replace(",p=", ",x=1,p=")), Err(Failure::Proof));
    }

    #[test]
    fn first_messages() {
        let read = |text: &str| First::parse(text.as_bytes());
        assert_eq!(read("y,,n=a=2Cb=3Dc,r=x,e=1").map(|first| first.username).as_deref(), Ok("a,b=c"));
        assert!(read("n,a=user,n=user,r=x").is_ok());
        for unsupported in ["p=tls-unique,,n=user,r=x", "n,a=root,n=user,r=x", "n,,m=1,n=user,r=x"] {
            assert_eq!(read(unsupported), Err(Failure::Unsupported), "{unsupported}");
        }
        for bad in
            ["", "n", "n,", "n,,", "q,,n=user,r=x", "n,,n=,r=x", "n,,n=user", "n,,n=user,r=", "n,,n=u=41,r=x"]
        {
            assert_eq!(read(bad), Err(Failure::Malformed), "{bad}");
        }
        assert_eq!(First::parse(b"n,,n=\xff,r=x"), Err(Failure::Malformed));
    }

    #[test]
    fn a_user_that_does_not_exist_looks_like_one() {
        let secret = Secret::new([1; 32]);
        let (like, fake) = (keys("pencil"), secret.keys("nobody", &keys("pencil")));
        assert_eq!((fake.iterations, fake.salt.len()), (like.iterations, like.salt.len()));
        assert_eq!(fake, secret.keys("nobody", &like));
        assert_ne!(fake.salt, secret.keys("somebody", &like).salt);
        assert_ne!(fake.salt, Secret::new([2; 32]).keys("nobody", &like).salt);
        assert_ne!(secret.nonce(1), secret.nonce(2));
    }

    /// RFC 4013 in a password: a soft hyphen is nothing, a ligature is its letters.
    #[test]
    fn passwords_are_prepared() {
        let stored = |text: &str| derive(2, b"salt", text.as_bytes()).stored;
        let equal = |a: &str, b: &str| stored(a) == stored(b);
        assert!(equal("I\u{ad}X", "IX") && equal("\u{2168}", "IX") && !equal("ix", "IX"));
        assert!(!equal("\u{7}", ""), "what cannot be prepared stays");
    }
}
