//! Reports: projections of the event log, one file a format, all in one registry.
//!
//! A report sees nothing but [`Event`]s, so every report can be made again from a recorded log.
//! Where the bytes go, and what becomes of lab sheets, is the command line's business.

pub mod comparison;
pub mod console;
pub mod failure;
pub mod json;
mod junit;
mod marks;
mod matrix;
mod paint;
mod progress;
mod side_by_side;
mod tally;

use std::io::{self, Write};

use crate::record::Event;

pub use console::{Console, ConsoleOptions};
pub use junit::Junit;
pub use marks::Marks;
pub use matrix::{Matrix, MatrixOptions};
pub use tally::Tally;

/// Where a report is written to.
pub type Output = Box<dyn Write + Send>;

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
    /// Makes it, writing plain text to the given place; told the arguments that a failure's repeating
    /// command needs besides file and `--only`.
    pub make: fn(Output, &str) -> Box<dyn Report>,
}

/// All report formats.
pub const REPORTS: &[ReportSpec] = &[
    ReportSpec {
        name: "console",
        doc: "What a terminal shows, without colours: failures with their packets, then a summary.",
        example: "--report console=run.txt",
        make: |out, again| {
            let options = ConsoleOptions { again: again.to_owned(), ..ConsoleOptions::default() };
            Box::new(Console::new(out, options))
        },
    },
    ReportSpec {
        name: "junit",
        doc: "JUnit XML for CI: a suite a file, a test case a case or table row.",
        example: "--report junit=junit.xml",
        make: |out, again| Box::new(Junit::new(out, again)),
    },
    ReportSpec {
        name: "matrix",
        doc: "Brokers side by side, as mqttlab compare prints it: a row a scenario, a column a broker and version.",
        example: "--report matrix=matrix.txt",
        make: |out, _| Box::new(Matrix::new(out, MatrixOptions::default())),
    },
    ReportSpec {
        name: "json",
        doc: "The event log itself, one JSON object a line; every other report can be made from it.",
        example: "--report json=run.jsonl",
        make: |out, _| Box::new(json::JsonLines::new(out)),
    },
];

/// The format of this name.
pub fn find(name: &str) -> Option<&'static ReportSpec> {
    REPORTS.iter().find(|spec| spec.name == name)
}
