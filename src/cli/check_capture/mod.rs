//! `mqttlab check-capture`: the passive checks over a capture of tshark, dumpcap or tcpdump. Nothing is
//! connected to; what cannot be judged is said.

mod watch;

use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use serde_json::json;

use super::{Exit, complain};
use crate::capture::{Conversations, Segment, read};
use crate::text::{escape, plural};
use watch::{Finding, Watch};

/// Checks the MQTT in a capture against the protocol, both ends of every connection
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A pcapng or pcap file
    file: PathBuf,

    /// Takes connections to this port for MQTT whatever they begin with; others are known by their CONNECT
    #[arg(long, value_name = "PORT")]
    port: Vec<u16>,

    /// The capture holds every connection to the broker: sessions are judged over several connections
    #[arg(long)]
    complete: bool,

    /// Prints a line of JSON a finding, and one about the whole
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Exit codes: 0 nothing found, 1 findings, 3 the file cannot be read.

Examples:
  tshark -i lo -f 'tcp port 1883' -w lab.pcapng    makes a capture
  mqttlab check-capture lab.pcapng                 what in it breaks the protocol
  mqttlab check-capture lab.pcapng --complete      sessions too: no client is missing in it
  mqttlab explain checks                           what is looked at";

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();

/// Exit 0 without findings, 1 with, 3 for a file that cannot be read.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let name = args.file.display();
    let file = match File::open(&args.file) {
        Ok(file) => file,
        Err(error) => {
            complain(format_args!("error: {name}: {error}"));
            return Ok(Exit::Invalid);
        }
    };
    let mut watch = Watch::new(args.port.clone(), args.complete);
    let mut conversations = Conversations::default();
    let read = read(BufReader::new(file), |frame| {
        let at = watch.since_start(frame.at);
        match Segment::of(frame) {
            Ok(segment) => watch.segment(&mut conversations, &Segment { at, ..segment }),
            Err(why) => watch.skip(why),
        }
    });
    watch.finish(conversations);
    match read {
        Ok(true) => {}
        Ok(false) => watch.notes.push("the file ends in the middle of a frame".into()),
        Err(error) => {
            complain(format_args!("error: {name}: {error}"));
            return Ok(Exit::Invalid);
        }
    }
    let printed = if args.json { print_json(&watch) } else { print_text(&watch) };
    printed.context("cannot write")?;
    Ok(if watch.findings.is_empty() { Exit::Success } else { Exit::Failed })
}

/// Who of the two, as a person reads it.
fn connection(finding: &Finding) -> String {
    let Finding { client, server, client_id, .. } = finding;
    format!(
        "{client} ({}) - {server}",
        if client_id.is_empty() { "no client id".into() } else { escape(client_id) }
    )
}

fn print_text(watch: &Watch) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    for finding in &watch.findings {
        let violation = &finding.violation;
        let (frame, at, who) = (finding.frame, violation.at, connection(finding));
        writeln!(out, "{RED}{}{RED:#}  frame {frame}, {at:.6} s  {who}", violation.check.name)?;
        writeln!(out, "  {BOLD}{}{BOLD:#} (MQTT {})", escape(&violation.to_string()), violation.standard)?;
        writeln!(out, "  {}: {}\n", violation.by(), escape(&violation.line))?;
    }
    for note in &watch.notes {
        writeln!(out, "note: {}", escape(note))?;
    }
    let packets = usize::try_from(watch.packets).unwrap_or(usize::MAX);
    let connections = usize::try_from(watch.connections).unwrap_or(usize::MAX);
    writeln!(
        out,
        "{} in {} of MQTT: {}",
        plural(packets, "packet"),
        plural(connections, "connection"),
        plural(watch.findings.len(), "finding")
    )?;
    Ok(())
}

fn print_json(watch: &Watch) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    for finding in &watch.findings {
        let violation = &finding.violation;
        let line = json!({
            "finding": violation.check.name,
            "by": violation.by().name(),
            "sentence": violation.sentence,
            "protocol": violation.standard.to_string(),
            "statements": violation.statements,
            "packet": violation.line,
            "frame": finding.frame,
            "at": violation.at,
            "client": finding.client.to_string(),
            "server": finding.server.to_string(),
            "client_id": finding.client_id,
        });
        writeln!(out, "{line}")?;
    }
    let whole = json!({
        "findings": watch.findings.len(),
        "connections": watch.connections,
        "packets": watch.packets,
        "notes": watch.notes,
    });
    writeln!(out, "{whole}")?;
    Ok(())
}
