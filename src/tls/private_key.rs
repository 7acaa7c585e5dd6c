//! Private keys, those under a passphrase too.
//!
//! PKCS#8 with PBES2, which OpenSSL has written since 3.0, is opened with a passphrase. The older
//! two forms (`Proc-Type: 4,ENCRYPTED` and PKCS#8 with PBES1) hide a key behind MD5 or SHA-1 and
//! few rounds; they are refused with the command that rewrites them.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Where passphrases come from: asked with a key file's name. An error says why there is none.
pub type Ask<'a> = &'a mut dyn FnMut(&str) -> Result<String, String>;

const BEGIN_ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END_ENCRYPTED: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// The first private key of a PEM text. An error says what is wrong, and how to mend it.
pub(super) fn load(file: &str, pem: &[u8], ask: Ask<'_>) -> Result<PrivateKeyDer<'static>, String> {
    let text = String::from_utf8_lossy(pem);
    if let Some(block) = encrypted_block(&text) {
        return open(file, block, ask);
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        let form = "the key is encrypted in the old form of OpenSSL";
        return Err(format!("{form}; {}", rewrite(file)));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string())
}

fn encrypted_block(text: &str) -> Option<&str> {
    let from = text.find(BEGIN_ENCRYPTED)?;
    let to = text[from..].find(END_ENCRYPTED)?;
    Some(&text[from..from + to + END_ENCRYPTED.len()])
}

/// The way out of a form that cannot be opened.
fn rewrite(file: &str) -> String {
    format!("rewrite it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in {file} -out new.key`")
}

fn open(file: &str, block: &str, ask: Ask<'_>) -> Result<PrivateKeyDer<'static>, String> {
    let (_, document) = pkcs8::SecretDocument::from_pem(block).map_err(|error| error.to_string())?;
    let Ok(encrypted) = pkcs8::EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()) else {
        return Err(format!("the key is encrypted in a form that is not known here; {}", rewrite(file)));
    };
    if encrypted.encryption_algorithm.pbes2().is_none() {
        return Err(format!("the key is encrypted in an old form (PBES1); {}", rewrite(file)));
    }
    let passphrase = ask(file).map_err(|why| {
        format!(
            "the key is encrypted and {why}; decrypt it with `openssl pkey -in {file} -out new.key`, \
             readable by the broker's account alone"
        )
    })?;
    match encrypted.decrypt(passphrase) {
        Ok(key) => Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into()),
        Err(pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. })) => {
            Err(format!("the key is encrypted by a cipher that is not known here; {}", rewrite(file)))
        }
        Err(_) => Err("the passphrase is wrong".to_owned()),
    }
}
