//! `mqttlab explain`: the reference of the scenario language and of everything around it, printed
//! from the registries that the program itself works by.

use std::io::Write as _;

use anstyle::Style;

use super::reference::{CHAPTERS, Chapter, Entry};
use super::schema::schema;
use super::{Exit, usage};
use crate::text::did_you_mean;

/// Explains a word of scenarios, an option, a code, a check, a statement
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A chapter or a word; without it, all chapters
    topic: Option<String>,

    /// Prints the JSON Schema of scenario files, for editors
    #[arg(long, conflicts_with = "topic")]
    schema: bool,
}

const EXAMPLES: &str = "\
Examples:
  mqttlab explain                    the chapters
  mqttlab explain options            one chapter
  mqttlab explain receives           one verb, with its keys and an example
  mqttlab explain acl_file           one option of mosquitto.conf
  mqttlab explain MQTT-3.3.1-4       one statement of the standard
  mqttlab explain --schema > mqttlab.schema.json";

const BOLD: Style = Style::new().bold();

/// Exit 0, or 2 for a topic that nobody knows.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.schema {
        writeln!(anstream::stdout(), "{:#}", schema())?;
        return Ok(Exit::Success);
    }
    let Some(topic) = &args.topic else {
        print_chapters()?;
        return Ok(Exit::Success);
    };
    if let Some(chapter) = CHAPTERS.iter().find(|chapter| chapter.name.eq_ignore_ascii_case(topic)) {
        print_chapter(chapter)?;
        return Ok(Exit::Success);
    }
    let wanted = topic.trim_start_matches('[').trim_end_matches(']');
    let all: Vec<(&Chapter, Entry)> = CHAPTERS
        .iter()
        .flat_map(|chapter| (chapter.entries)().into_iter().map(move |entry| (chapter, entry)))
        .collect();
    let found: Vec<_> = all.iter().filter(|(_, entry)| entry.name.eq_ignore_ascii_case(wanted)).collect();
    if found.is_empty() {
        let names = CHAPTERS.iter().map(|c| c.name).chain(all.iter().map(|(_, entry)| entry.name.as_str()));
        return Ok(usage(match did_you_mean(wanted, names) {
            Some(meant) => format!("nothing is called {topic}, did you mean {meant}?"),
            None => format!("nothing is called {topic}; `mqttlab explain` lists the chapters"),
        }));
    }
    for (number, (chapter, entry)) in found.into_iter().enumerate() {
        if number > 0 {
            writeln!(anstream::stdout())?;
        }
        print_entry(chapter, entry)?;
    }
    Ok(Exit::Success)
}

fn print_chapters() -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "Chapters, each with its words (mqttlab explain CHAPTER, mqttlab explain WORD):\n")?;
    let width = CHAPTERS.iter().map(|chapter| chapter.name.len()).max().unwrap_or(0);
    for chapter in CHAPTERS {
        writeln!(out, "  {BOLD}{:<width$}{BOLD:#}  {}", chapter.name, chapter.doc)?;
    }
    Ok(())
}

fn print_chapter(chapter: &Chapter) -> anyhow::Result<()> {
    /// A name longer than this stands on a line of its own.
    const WIDEST: usize = 30;
    let mut out = anstream::stdout().lock();
    writeln!(out, "{BOLD}{}{BOLD:#}: {}\n", chapter.name, chapter.doc)?;
    let entries = (chapter.entries)();
    let width = entries.iter().map(|entry| entry.name.len()).filter(|len| *len <= WIDEST).max().unwrap_or(0);
    for entry in &entries {
        if entry.name.len() > width {
            writeln!(out, "  {BOLD}{}{BOLD:#}\n  {:width$}  {}", entry.name, "", first_sentence(&entry.doc))?;
        } else {
            writeln!(out, "  {BOLD}{:<width$}{BOLD:#}  {}", entry.name, first_sentence(&entry.doc))?;
        }
    }
    Ok(())
}

/// A chapter is an overview; the rest stands in the entry.
fn first_sentence(doc: &str) -> &str {
    doc.split_once(". ").map_or(doc, |(first, _)| first).trim_end_matches('.')
}

fn print_entry(chapter: &Chapter, entry: &Entry) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{BOLD}{}{BOLD:#} ({})\n", entry.name, chapter.name)?;
    // A single detail that says the same is not said twice.
    let repeated = entry.details.iter().any(|(_, text)| text.starts_with(&entry.doc));
    if !repeated {
        writeln!(out, "  {}", entry.doc)?;
    }
    let width = entry.details.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    for (what, text) in &entry.details {
        writeln!(out, "  {what:<width$}  {text}")?;
    }
    if !entry.example.is_empty() {
        writeln!(out, "\n  Example:")?;
        for line in entry.example.trim_end().lines() {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}
