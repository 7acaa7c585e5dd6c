//! The files of certificates, from the disk.
//!
//! Says why a file cannot be had in a few words; the caller knows what the file was for.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

use super::material;

/// Bytes of the largest file that is read. A system's whole bundle has a quarter of a million; a
/// list of a million revoked certificates about forty.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Files of a `capath` at most.
const MOST_FILES: usize = 10_000;

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(|error| error.to_string())?.take(LARGEST + 1);
    file.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST { Err("it is larger than 64 MiB".to_owned()) } else { Ok(bytes) }
}

/// The certificates of all PEM files of a folder, each once. OpenSSL looks files up by the hash of a
/// name in theirs; here all are read, whatever their names, so that a folder that was never hashed
/// works too. What is no PEM file of certificates is passed over.
pub(super) fn read_folder(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let entries = path.read_dir().map_err(|error| error.to_string())?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_file() {
            files.push(path);
        }
        if files.len() > MOST_FILES {
            return Err(format!("there are more than {MOST_FILES} files in it"));
        }
    }
    files.sort();
    let mut found: Vec<CertificateDer<'static>> = Vec::new();
    for file in files {
        let certificates = read(&file).and_then(|pem| material::certificates(&pem)).unwrap_or_default();
        found.extend(certificates);
    }
    found.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
    found.dedup();
    if found.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(found) }
}

/// A path as messages have it.
pub(super) fn name(path: &Path) -> String {
    path.display().to_string()
}
