//! The console and the `--report`s of one run: opened before anything starts, fed, and closed.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _};
use std::path::{Path, PathBuf};

use anstream::{AutoStream, ColorChoice};
use anyhow::Context as _;

use crate::record::Event;
use crate::report::{
    self, Console, ConsoleOptions, Folder, Make, Marks, OfTls, REPORTS, Report, ReportSpec, Tally,
};
use crate::text::{did_you_mean, plural};

/// Names the file of a job's summary in GitHub Actions.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// One `--report FORMAT=FILE`.
#[derive(Debug, Clone)]
pub struct ReportArg {
    spec: &'static ReportSpec,
    to: Destination,
}

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Destination {
    Stdout,
    /// A file, overwritten; or a folder, for a report of several files.
    Path(PathBuf),
    /// The end of a file.
    Append(PathBuf),
}

impl ReportArg {
    /// True for `FORMAT=-`.
    pub fn is_stdout(&self) -> bool {
        self.to == Destination::Stdout
    }

    /// The one file of a report that else is a folder of files, a scenario a file.
    fn single_capture(&self) -> Option<&Path> {
        match (&self.spec.make, &self.to) {
            (Make::Folder(_), Destination::Path(path)) if is_capture(path) => Some(path),
            _ => None,
        }
    }

    /// True for a report that is less without the records of TLS connections.
    pub fn asks_for_tls(&self) -> bool {
        self.spec.tls == OfTls::Wanted
    }

    /// True for a report that holds what is recorded of TLS connections.
    pub fn holds_tls(&self) -> bool {
        self.spec.tls != OfTls::Ignored
    }

    /// Opens what it is written to, and makes it. What a file held stays for now: it is put into `old`.
    fn open(&self, again: &str, old: &mut Vec<File>) -> anyhow::Result<Sink> {
        let (name, report) = match (&self.to, self.spec.make) {
            (Destination::Path(path), Make::Folder(make)) => {
                let folder = Captures::open(path)?;
                (path.display().to_string(), make(Box::new(folder)))
            }
            (Destination::Stdout, Make::File(make)) => {
                ("stdout".to_owned(), make(Box::new(io::stdout()), again))
            }
            (Destination::Path(path) | Destination::Append(path), Make::File(make)) => {
                let name = path.display().to_string();
                let mut options = OpenOptions::new();
                match self.to {
                    Destination::Append(_) => options.append(true),
                    _ => options.write(true).truncate(false),
                };
                let file = options.create(true).open(path).with_context(|| format!("cannot write {name}"))?;
                if matches!(self.to, Destination::Path(_)) && file.metadata()?.is_file() {
                    old.push(file.try_clone()?);
                }
                (name, make(Box::new(BufWriter::new(file)), again))
            }
            (Destination::Stdout | Destination::Append(_), Make::Folder(_)) => {
                anyhow::bail!("{} are files in a folder", self.spec.name)
            }
        };
        Ok(Sink { name, report, trouble: None })
    }
}

/// Reads `junit=report.xml`.
pub fn parse_report(text: &str) -> Result<ReportArg, String> {
    let names = || REPORTS.iter().map(|spec| spec.name);
    let (name, file) = text
        .split_once('=')
        .filter(|(_, file)| !file.is_empty())
        .ok_or("write it as FORMAT=FILE, such as junit=junit.xml; `-` is stdout")?;
    let Some(spec) = report::find(name) else {
        let all = names().collect::<Vec<_>>().join(", ");
        return Err(match did_you_mean(name, names()) {
            Some(meant) => format!("there is no report `{name}`, did you mean {meant}? ({all})"),
            None => format!("there is no report `{name}`; there are {all}"),
        });
    };
    let to = match (file, name, spec.make) {
        ("-", _, Make::Folder(_)) => {
            return Err(format!("{name} is a folder of files and cannot go to stdout"));
        }
        ("-", ..) => Destination::Stdout,
        ("github", "markdown", _) => match std::env::var_os(STEP_SUMMARY).filter(|path| !path.is_empty()) {
            Some(path) => Destination::Append(path.into()),
            None => {
                return Err(format!(
                    "markdown=github appends to the file that ${STEP_SUMMARY} names, which is not set here; \
                     name a file, such as markdown=summary.md"
                ));
            }
        },
        _ => Destination::Path(file.into()),
    };
    Ok(ReportArg { spec, to })
}

/// Refuses reports that would mix on stdout or in a file; the error is one sentence.
pub fn distinct(reports: &[ReportArg]) -> Result<(), String> {
    if reports.iter().filter(|report| report.is_stdout()).count() > 1 {
        return Err("only one report can go to stdout".into());
    }
    let mut taken = BTreeSet::new();
    for report in reports {
        let (Destination::Path(path) | Destination::Append(path)) = &report.to else { continue };
        if is_kept(path) && !taken.insert(real(path)) {
            return Err(format!("only one report can go to {}", path.display()));
        }
    }
    Ok(())
}

/// False for what many may write to, such as `/dev/null`.
fn is_kept(path: &Path) -> bool {
    path.metadata().map_or(true, |found| found.is_file() || found.is_dir())
}

/// The same for all ways to write a path, also of a file that is not there yet.
fn real(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    path.canonicalize()
        .or_else(|_| Ok(parent.canonicalize()?.join(path.file_name().unwrap_or_default())))
        .unwrap_or_else(|_: io::Error| path.to_owned())
}

/// Refuses one capture for several cases, before anything runs; the error is one sentence.
pub fn captures_fit(reports: &[ReportArg], cases: usize) -> Result<(), String> {
    match reports.iter().find_map(ReportArg::single_capture) {
        Some(file) if cases > 1 => {
            let several = plural(cases, "scenario");
            Err(format!("{} holds one scenario, not {several}; name a folder", file.display()))
        }
        _ => Ok(()),
    }
}

/// A folder of captures, or the one file that is named in place of it.
struct Captures {
    path: PathBuf,
    single: bool,
    created: bool,
}

fn is_capture(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "pcapng") && !path.is_dir()
}

impl Captures {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let single = is_capture(path);
        if !single {
            std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        Ok(Self { path: path.to_owned(), single, created: false })
    }
}

impl Folder for Captures {
    fn create(&mut self, name: &str) -> io::Result<report::Output> {
        if self.single && std::mem::replace(&mut self.created, true) {
            return Err(io::Error::other("it holds one scenario; name a folder for several"));
        }
        let file = if self.single { File::create(&self.path)? } else { File::create(self.path.join(name))? };
        Ok(Box::new(BufWriter::new(file)))
    }
}

/// All that listens to a run.
pub struct Outputs {
    console: Sink,
    files: Vec<Sink>,
    tally: Tally,
    marks: Marks,
}

/// A report that is given up when it cannot be written any more.
struct Sink {
    name: String,
    report: Box<dyn Report>,
    trouble: Option<io::Error>,
}

impl Outputs {
    /// Opens all files. The console goes to stderr when a report takes stdout.
    pub fn open(reports: &[ReportArg], verbose: bool, trace: bool, again: &str) -> anyhow::Result<Self> {
        let options = |colour, progress| {
            let again = again.to_owned();
            ConsoleOptions { colour, verbose, trace, progress, again }
        };
        Self::with_console(reports, again, |out, colour, progress| {
            Box::new(Console::new(out, options(colour, progress)))
        })
    }

    /// Opens all files, and something else for the terminal: told where to write, and whether with
    /// colours and a progress bar.
    pub fn with_console(
        reports: &[ReportArg],
        again: &str,
        console: impl FnOnce(report::Output, bool, bool) -> Box<dyn Report>,
    ) -> anyhow::Result<Self> {
        let to_stderr = reports.iter().any(ReportArg::is_stdout);
        let (out, colour): (report::Output, _) = if to_stderr {
            (Box::new(io::stderr()), AutoStream::choice(&io::stderr()) != ColorChoice::Never)
        } else {
            (Box::new(io::stdout()), AutoStream::choice(&io::stdout()) != ColorChoice::Never)
        };
        let mut old = Vec::new();
        let files = reports.iter().map(|arg| arg.open(again, &mut old)).collect::<anyhow::Result<_>>()?;
        // Only now: where one report cannot be written, the others of an earlier run are kept.
        for file in old {
            file.set_len(0).context("cannot empty an old report")?;
        }
        let report = console(out, colour, io::stderr().is_terminal());
        let console = Sink { name: "stdout".to_owned(), report, trouble: None };
        Ok(Self { console, files, tally: Tally::default(), marks: Marks::default() })
    }

    /// Hands an event to everyone.
    pub fn event(&mut self, event: &Event) {
        self.tally.event(event);
        self.marks.event(event);
        for sink in std::iter::once(&mut self.console).chain(&mut self.files) {
            sink.attempt(|report| report.event(event));
        }
    }

    /// Ends a run.
    pub fn finish(mut self) -> anyhow::Result<(Tally, Marks)> {
        self.console.attempt(|report| report.finish());
        self.finish_files()?;
        self.console.settle()?;
        Ok((self.tally, self.marks))
    }

    /// Ends a run that could not start: files say so, the console keeps silent.
    pub fn abandon(mut self) -> anyhow::Result<()> {
        self.finish_files()
    }

    fn finish_files(&mut self) -> anyhow::Result<()> {
        for sink in &mut self.files {
            sink.attempt(|report| report.finish());
        }
        self.files.drain(..).try_for_each(|mut sink| sink.settle())
    }
}

impl Sink {
    fn attempt(&mut self, action: impl FnOnce(&mut dyn Report) -> io::Result<()>) {
        if self.trouble.is_none() {
            self.trouble = action(self.report.as_mut()).err();
        }
    }

    /// A reader that went away is no trouble: the run itself counts.
    fn settle(&mut self) -> anyhow::Result<()> {
        match self.trouble.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error).with_context(|| format!("cannot write {}", self.name))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_every_report_works() {
        for spec in REPORTS {
            let argument = spec.example.strip_prefix("--report ").expect("an example of --report");
            let parsed = parse_report(argument).expect("valid");
            assert_eq!(parsed.spec.name, spec.name);
            assert!(!parsed.is_stdout());
        }
        assert!(parse_report("json=-").expect("valid").is_stdout());
        assert!(parse_report("json=").is_err());
        assert!(parse_report("pcapng=-").is_err());
    }
}
