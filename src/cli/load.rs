//! Scenario files and lab sheets named on the command line, read and turned into cases.
//! Knows folders and paths; what the texts mean is `scenario`'s business.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::diagnostic::{Diagnostic, Source};
use crate::runner::prepare::check::check;
use crate::scenario::target::FileText;
use crate::scenario::{self, Case, LoadOptions, Loaded, ScenarioFiles};

/// Where scenarios are looked for when no path is given.
const DEFAULT_FOLDER: &str = "scenarios/labs";

/// The arguments of every command that reads scenarios.
#[derive(Debug, Default, Args)]
pub struct Inputs {
    /// Scenario files (.yaml), folders of them, or lab sheets (.md, .csv) [default: scenarios/labs]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Sets the variable ${name} of the scenarios
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value, help_heading = "Scenarios")]
    set: Vec<(String, String)>,

    /// Takes broker, users and certificates of a lab sheet's table from this scenario file
    #[arg(long, value_name = "FILE", help_heading = "Scenarios")]
    with: Option<PathBuf>,

    /// Grades this ACL file instead of the scenario's rights
    #[arg(long, value_name = "FILE", help_heading = "Scenarios")]
    acl: Option<PathBuf>,

    /// Grades this password file instead of the scenario's
    #[arg(long, value_name = "FILE", help_heading = "Scenarios")]
    password_file: Option<PathBuf>,

    /// Grades this mosquitto.conf instead of the scenario's settings (ports and paths are moved)
    #[arg(long, value_name = "FILE", help_heading = "Scenarios")]
    config: Option<PathBuf>,
}

/// All that was read.
#[derive(Debug, Default)]
pub struct Read {
    /// Every file, in the order of reading.
    pub files: Vec<ReadFile>,
    /// Texts of --acl, --password-file, --config and --with, as far as they are given.
    pub given: Vec<String>,
}

/// One file and what it gave.
#[derive(Debug)]
pub struct ReadFile {
    /// Its path as shown.
    pub name: String,
    /// Cases and findings.
    pub loaded: Loaded,
}

impl Read {
    /// All findings, file by file.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.files.iter().flat_map(|file| &file.loaded.diagnostics)
    }

    /// True if nothing may start.
    pub fn has_errors(&self) -> bool {
        self.diagnostics().any(Diagnostic::is_error)
    }

    /// All cases.
    pub fn into_cases(self) -> Vec<Case> {
        self.files.into_iter().flat_map(|file| file.loaded.cases).collect()
    }
}

impl Inputs {
    /// Files and folders as they are, without any other argument.
    pub fn of(paths: Vec<PathBuf>) -> Self {
        Self { paths, ..Self::default() }
    }

    /// Reads everything; what cannot be read is a finding like any other.
    pub fn read(&self) -> Read {
        let mut read = Read::default();
        let options = self.options(&mut read);
        let mut paths = self.paths.clone();
        if paths.is_empty() {
            paths.push(PathBuf::from(DEFAULT_FOLDER));
        }
        for path in paths {
            match scenario_files(&path) {
                Ok(found) if found.is_empty() => {
                    read.refuse(&path, "this folder holds no scenario (.yaml); a lab sheet is named itself");
                }
                Ok(found) => found.iter().for_each(|file| read.add(file, &options)),
                Err(error) => read.refuse(&path, &error.to_string()),
            }
        }
        read
    }

    /// The arguments besides paths that a repeating command must have.
    pub fn again(&self) -> Vec<String> {
        let set = self.set.iter().flat_map(|(name, value)| ["--set".to_owned(), format!("{name}={value}")]);
        let files = [
            ("--with", &self.with),
            ("--acl", &self.acl),
            ("--password-file", &self.password_file),
            ("--config", &self.config),
        ];
        let files = files
            .into_iter()
            .filter_map(|(option, path)| Some([option.to_owned(), shown(path.as_deref()?)]))
            .flatten();
        set.chain(files).collect()
    }

    fn options(&self, read: &mut Read) -> LoadOptions {
        let mut text = |path: &Option<PathBuf>| {
            let path = path.as_deref()?;
            match std::fs::read_to_string(path) {
                Ok(text) => {
                    read.given.push(text.clone());
                    Some(FileText { path: shown(path), text, embedded_at: None })
                }
                Err(error) => {
                    read.refuse(path, &error.to_string());
                    None
                }
            }
        };
        LoadOptions {
            set: self.set.iter().cloned().collect(),
            env: environment(),
            acl: text(&self.acl),
            password_file: text(&self.password_file),
            config: text(&self.config),
            with: text(&self.with).map(|file| Source::new(file.path, file.text)),
        }
    }
}

impl Read {
    fn add(&mut self, path: &Path, options: &LoadOptions) {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let source = Source::new(shown(path), text);
                let mut loaded = scenario::load(&source, &Disk { base: path }, options);
                loaded.diagnostics.extend(check(&loaded.cases));
                // A file of the command line is found at fault once, not by each sheet that it is for.
                loaded.diagnostics.retain(|finding| !self.diagnostics().any(|known| known == finding));
                self.files.push(ReadFile { name: source.name.clone(), loaded });
            }
            Err(error) => self.refuse(path, &error.to_string()),
        }
    }

    fn refuse(&mut self, path: &Path, why: &str) {
        let name = shown(path);
        let mut finding = Diagnostic::file_error("L000", format!("cannot read {name}: {why}"));
        if path == Path::new(DEFAULT_FOLDER) {
            finding = finding.with_help("name the files to read; this folder is read when none is named");
        }
        self.files
            .push(ReadFile { name, loaded: Loaded { diagnostics: vec![finding], ..Loaded::default() } });
    }
}

/// Files named by a scenario file, relative to it.
struct Disk<'a> {
    base: &'a Path,
}

impl ScenarioFiles for Disk<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(self.base.parent().unwrap_or(Path::new(".")).join(path))
    }
}

/// The environment as far as it is UTF-8; a scenario sees only what it names.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// A path as reports show it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A file as it is; of a folder, all scenario files below it, in order of their paths. Lab sheets
/// are taken when named: a folder may hold any Markdown.
fn scenario_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as name=value".to_owned()),
    }
}
