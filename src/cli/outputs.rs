//! The console and the `--report`s of one run: opened before anything starts, fed, and closed.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _};
use std::path::PathBuf;

use anstream::{AutoStream, ColorChoice};
use anyhow::Context as _;

use crate::record::Event;
use crate::report::{self, Console, ConsoleOptions, Marks, REPORTS, Report, ReportSpec, Tally};
use crate::text::did_you_mean;

/// One `--report FORMAT=FILE`.
#[derive(Debug, Clone)]
pub struct ReportArg {
    spec: &'static ReportSpec,
    /// `None` is stdout.
    file: Option<PathBuf>,
}

impl ReportArg {
    /// True for `FORMAT=-`.
    pub fn is_stdout(&self) -> bool {
        self.file.is_none()
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
    let file = (file != "-").then(|| PathBuf::from(file));
    Ok(ReportArg { spec, file })
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
        let mut files = Vec::new();
        for arg in reports {
            let (name, out): (_, report::Output) = match &arg.file {
                None => ("stdout".to_owned(), Box::new(io::stdout())),
                Some(path) => {
                    let name = path.display().to_string();
                    let file = File::create(path).with_context(|| format!("cannot write {name}"))?;
                    (name, Box::new(BufWriter::new(file)))
                }
            };
            files.push(Sink { name, report: (arg.spec.make)(out, again), trouble: None });
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
    }
}
