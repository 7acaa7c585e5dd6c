//! The real file system for configuration, password and ACL files.
//!
//! Decides nothing about their contents: `config` and `auth` read the texts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use crate::broker::auth::{Acl, Passwords, Rules, Zone};
use crate::broker::bridge::trust;
use crate::broker::config::{Config, ConfigFiles};
use crate::diagnostic::{Diagnostic, Source, has_errors};

/// Files as the operating system has them.
#[derive(Debug, Clone, Copy, Default)]
pub struct FsFiles;

impl ConfigFiles for FsFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }
}

/// Reads the password and ACL files that a configuration names. All errors at once; on any error
/// the rules have no zones and let nobody in.
pub fn load_rules(config: &Config, files: &dyn ConfigFiles) -> (Rules, Vec<Diagnostic>) {
    let mut found = Vec::new();
    let mut zones = Vec::new();
    for security in &config.security {
        let passwords = load(files, security.password_file.as_deref(), "P000", &mut found, |source| {
            let passwords = Passwords::parse(source, config.compat)?;
            let warnings = passwords.warnings().to_vec();
            Ok((passwords, warnings))
        });
        let acl = load(files, security.acl_file.as_deref(), "A000", &mut found, |source| {
            let acl = Acl::parse(source)?;
            let warnings = acl.warnings().to_vec();
            Ok((acl, warnings))
        });
        zones.push(Zone { allow_anonymous: security.allow_anonymous, passwords, acl });
    }
    let rules = if has_errors(&found) { Rules::default() } else { Rules::new(zones) };
    (rules, found)
}

/// Reads the certificates, keys and authorities of all bridges, as each connection does. All that is
/// wrong at once.
pub fn check_bridges(config: &Config) -> Vec<String> {
    let tls = config.bridges.iter().filter_map(|bridge| bridge.tls.as_ref());
    tls.filter_map(|tls| trust::load(tls).err()).collect()
}

/// What a reader of rules answers: the rules and its warnings, or its errors.
type Parsed<T> = Result<(T, Vec<Diagnostic>), Vec<Diagnostic>>;

fn load<T>(
    files: &dyn ConfigFiles,
    path: Option<&Path>,
    code: &'static str,
    found: &mut Vec<Diagnostic>,
    parse: impl FnOnce(&Arc<Source>) -> Parsed<T>,
) -> Option<T> {
    let name = path?.display().to_string();
    let parsed = match files.read(path?) {
        Ok(text) => parse(&Source::new(name, text)),
        Err(error) => {
            let what = if code == "A000" { "acl_file" } else { "pwfile" };
            let error = Diagnostic::file_error(code, format!("Unable to open {what} \"{name}\": {error}"));
            Err(vec![error])
        }
    };
    // Zones may share a file: each finding once.
    let (rules, diagnostics) = match parsed {
        Ok((rules, warnings)) => (Some(rules), warnings),
        Err(errors) => (None, errors),
    };
    for one in diagnostics {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    rules
}
