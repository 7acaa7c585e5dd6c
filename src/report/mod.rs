//! Reports: projections of the event log, one file a format, all in one registry.
//!
//! A report sees nothing but [`Event`]s, so every report can be made again from a recorded log.
//! Where the bytes go, and what becomes of lab sheets, is the command line's business.

pub mod comparison;
pub mod console;
pub mod failure;
mod github;
mod html;
pub mod json;
mod junit;
pub mod markdown;
mod marks;
mod matrix;
pub mod merge;
mod paint;
mod pcapng;
mod progress;
mod side_by_side;
mod tally;
mod tap;

use std::io::{self, Write};

use crate::record::Event;

pub use console::{Console, ConsoleOptions};
pub use github::Annotations;
pub use html::Html;
pub use junit::Junit;
pub use markdown::Markdown;
pub use marks::Marks;
pub use matrix::{Matrix, MatrixOptions};
pub use pcapng::Pcapng;
pub use tally::Tally;
pub use tap::Tap;

/// Where a report is written to.
pub type Output = Box<dyn Write + Send>;

/// Where a report of several files is written to.
pub trait Folder: Send {
    /// Makes a file of this name (a single component of a path) and opens it.
    fn create(&mut self, name: &str) -> io::Result<Output>;
}

/// Consumes the events of one run.
pub trait Report: Send {
    /// Takes the next event.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// Says that no event will come any more; also after a run that was cut short.
    fn finish(&mut self) -> io::Result<()>;
}

/// One report format.
#[derive(Debug)]
pub struct ReportSpec {
    /// Name for `--report NAME=FILE`.
    pub name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// An argument that works.
    pub example: &'static str,
    /// What becomes of TLS events in it.
    pub tls: OfTls,
    /// Makes it.
    pub make: Make,
}

/// What a report does with events about TLS connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfTls {
    /// Passes over them.
    Ignored,
    /// Holds them, if there are any.
    Held,
    /// Has no use for less than their records.
    Wanted,
}

/// How a report is made.
#[derive(Debug, Clone, Copy)]
pub enum Make {
    /// One file, or stdout. Told the arguments that a failure's repeating command needs besides file
    /// and `--only`.
    File(fn(Output, &str) -> Box<dyn Report>),
    /// A folder of files.
    Folder(fn(Box<dyn Folder>) -> Box<dyn Report>),
}

/// All report formats.
pub const REPORTS: &[ReportSpec] = &[
    ReportSpec {
        name: "console",
        doc: "What a terminal shows, without colours: failures with their packets, then a summary.",
        example: "--report console=run.txt",
        tls: OfTls::Ignored,
        make: Make::File(|out, again| {
            let options = ConsoleOptions { again: again.to_owned(), ..ConsoleOptions::default() };
            Box::new(Console::new(out, options))
        }),
    },
    ReportSpec {
        name: "junit",
        doc: "JUnit XML for CI: a suite a file, a test case a case or table row.",
        example: "--report junit=junit.xml",
        tls: OfTls::Ignored,
        make: Make::File(|out, again| Box::new(Junit::new(out, again))),
    },
    ReportSpec {
        name: "tap",
        doc: "TAP 14: a test point a case or table row, known deviations as things to do, why it failed in YAML.",
        example: "--report tap=results.tap",
        tls: OfTls::Ignored,
        make: Make::File(|out, _| Box::new(Tap::new(out))),
    },
    ReportSpec {
        name: "markdown",
        doc: "Markdown for GitHub, at most 1 MB: counts, failures with their packets, brokers beside each other. \
              `markdown=github` appends to the file that $GITHUB_STEP_SUMMARY names.",
        example: "--report markdown=summary.md",
        tls: OfTls::Ignored,
        make: Make::File(|out, again| Box::new(Markdown::new(out, again))),
    },
    ReportSpec {
        name: "github",
        doc: "Annotations of GitHub Actions at the lines of the scenarios, for stdout (`github=-`). GitHub shows \
              ten of each kind a step.",
        example: "--report github=annotations.txt",
        tls: OfTls::Ignored,
        make: Make::File(|out, again| Box::new(Annotations::new(out, again))),
    },
    ReportSpec {
        name: "pcapng",
        doc: "A capture a scenario for Wireshark, in a folder, or one FILE.pcapng for one scenario. TCP is \
              made up around what was seen: MQTT on port 1883, whatever carried it, without passwords; TLS on port 8883 \
              (443 with a WebSocket within), which `--tls-log handshakes` lets Wireshark read up to certificates and \
              alerts, and `--tls-log keys` wholly.",
        example: "--report pcapng=captures",
        tls: OfTls::Wanted,
        make: Make::Folder(|folder| Box::new(Pcapng::new(folder))),
    },
    ReportSpec {
        name: "matrix",
        doc: "Brokers side by side, as mqttlab compare prints it: a row a scenario, a column a broker and version.",
        example: "--report matrix=matrix.txt",
        tls: OfTls::Ignored,
        make: Make::File(|out, _| Box::new(Matrix::new(out, MatrixOptions::default()))),
    },
    ReportSpec {
        name: "json",
        doc: "The event log itself, one JSON object a line; every other report can be made from it.",
        example: "--report json=run.jsonl",
        tls: OfTls::Held,
        make: Make::File(|out, _| Box::new(json::JsonLines::new(out))),
    },
    ReportSpec {
        name: "blob",
        doc: "The event log of a shard with a line about itself before it, for `mqttlab merge`.",
        example: "--report blob=shard-1.blob",
        tls: OfTls::Held,
        make: Make::File(|out, _| Box::new(json::JsonLines::blob(out))),
    },
    ReportSpec {
        name: "html",
        doc: "One page for a browser, without network: verdicts, causes, a matrix, packets as sequence diagrams.",
        example: "--report html=run.html",
        tls: OfTls::Ignored,
        make: Make::File(|out, again| Box::new(Html::new(out, again))),
    },
];

/// The format of this name.
pub fn find(name: &str) -> Option<&'static ReportSpec> {
    REPORTS.iter().find(|spec| spec.name == name)
}
