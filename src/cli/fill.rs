//! `--fill`: y and n into the PASSED column of the sheets themselves, every other byte as it was.
//! A sheet that changed while the run went on is left alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

use crate::record::RowMark;
use crate::report::Marks;
use crate::scenario::table::unfillable;
use crate::scenario::{Body, Case};

/// The cells of one sheet.
struct Sheet<'a> {
    text: &'a str,
    cells: BTreeMap<usize, (Range<usize>, RowMark)>,
}

/// Says which tables have no cell to fill, before anything runs; true if there is one.
pub fn cannot(cases: &[Case]) -> anyhow::Result<bool> {
    let mut findings = Vec::new();
    for case in cases {
        let Body::Table(table) = &case.body else { continue };
        for finding in unfillable(table) {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    for finding in &findings {
        writeln!(anstream::stderr(), "{}\n", finding.render(true))?;
    }
    Ok(!findings.is_empty())
}

/// Fills every sheet of which rows ran.
pub fn fill(cases: &[Case], marks: &Marks) -> anyhow::Result<()> {
    for (name, sheet) in sheets(cases, marks) {
        let path = Path::new(name);
        if fs::read_to_string(path).with_context(|| format!("cannot read {name}"))? != sheet.text {
            bail!("{name} changed while the run went on; it was left as it is");
        }
        write(path, &sheet.filled()).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// The sheets by name; the same sheet in several variants is one.
fn sheets<'a>(cases: &'a [Case], marks: &Marks) -> BTreeMap<&'a str, Sheet<'a>> {
    let mut sheets = BTreeMap::new();
    for case in cases {
        let Body::Table(table) = &case.body else { continue };
        let Some(rows) = marks.rows(&case.file, &case.scenario) else { continue };
        for row in &table.rows {
            let (Some(cell), Some(mark)) = (&row.passed_cell, rows.get(&row.number)) else { continue };
            let source = &cell.source;
            let sheet = sheets
                .entry(source.name.as_str())
                .or_insert_with(|| Sheet { text: &source.text, cells: BTreeMap::new() });
            sheet.cells.insert(cell.range.start, (cell.range.clone(), *mark));
        }
    }
    sheets
}

impl Sheet<'_> {
    fn filled(&self) -> String {
        let mut out = String::with_capacity(self.text.len() + self.cells.len());
        let mut done = 0;
        for (range, mark) in self.cells.values() {
            let before = &self.text[range.clone()];
            let letter = match mark {
                RowMark::Yes => "y",
                RowMark::No => "n",
                // The mark of an earlier run is no longer known to be true.
                RowMark::Unknown if matches!(before.trim(), "y" | "n") => "?",
                RowMark::Unknown => continue,
            };
            out += &self.text[done..range.start];
            out += &cell(before, letter);
            done = range.end;
        }
        out + &self.text[done..]
    }
}

/// The letter in place of what stood in the cell, as wide as before where there was room; blanks
/// beside the bars stay.
fn cell(before: &str, letter: &str) -> String {
    if !before.starts_with(' ') {
        return letter.to_owned();
    }
    let width = before.chars().count().saturating_sub(2).max(1);
    format!(" {letter:<width$} ")
}

/// All or nothing, with the permissions of before.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    // A link is followed, not replaced.
    let path = fs::canonicalize(path)?;
    let folder = path.parent().context("a file without a folder")?;
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::metadata(&path)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_keeps_its_width() {
        assert_eq!(cell("        ", "y"), " y      ");
        assert_eq!(cell("  ", "y"), " y ");
        assert_eq!(cell(" (y/n) ", "n"), " n     ");
        assert_eq!(cell(" n ", "y"), " y ");
        assert_eq!(cell("", "y"), "y");
    }

    #[test]
    fn every_other_byte_stays() {
        let text = "| a |   |\r\n| b | ? |\r\n| c |  |\r\n| d | y |";
        let at = |needle: &str| text.find(needle).expect("there") + 3;
        let marks = [
            ("a |", RowMark::Yes),
            ("b |", RowMark::Unknown),
            ("c |", RowMark::No),
            ("d |", RowMark::Unknown),
        ];
        let cells = marks.map(|(needle, mark)| {
            (at(needle), (at(needle)..at(needle) + if needle == "c |" { 2 } else { 3 }, mark))
        });
        let sheet = Sheet { text, cells: cells.into_iter().collect() };
        assert_eq!(sheet.filled(), "| a | y |\r\n| b | ? |\r\n| c | n |\r\n| d | ? |");
    }

    #[test]
    fn a_sheet_that_changed_is_left_alone() {
        use crate::diagnostic::Source;
        use crate::record::{CaseId, CaseInfo, Event, EventKind, Outcome, Verdict};
        use crate::scenario::{LoadOptions, NoFiles, load};

        const SHEET: &str = "lab: 1\nscenarios:\n- id: acl\n  name: n\n  broker: {users: {bob: {}}}\n  \
            acl_table: |\n    | Topic | User | Publish | Expectation | PASSED |\n    \
            |---|---|---|---|---|\n    | a | bob | X | PASS |  |\n";
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lab.yaml");
        let name = path.display().to_string();
        let loaded = load(&Source::new(name.clone(), SHEET), &NoFiles, &LoadOptions::default());
        assert_eq!(loaded.cases.len(), 1, "{:?}", loaded.diagnostics);
        let mut marks = Marks::default();
        let id = CaseId { file: name, scenario: "acl".into(), variant: String::new(), row: Some(1) };
        let case = CaseInfo { id, ..CaseInfo::default() };
        let outcome = Outcome {
            case,
            verdict: Verdict::Passed,
            unmet: false,
            left_out: false,
            seconds: 0.0,
            why: None,
            mechanism: None,
            notes: Vec::new(),
        };
        marks.event(&Event { at: 0.0, kind: EventKind::CaseFinished { outcome } });

        fs::write(&path, SHEET).expect("writes");
        fill(&loaded.cases, &marks).expect("it is as it was read");
        let filled = fs::read_to_string(&path).expect("reads");
        assert_eq!(filled, SHEET.replace("PASS |  |", "PASS | y |"));
        let error = fill(&loaded.cases, &marks).expect_err("it is not as it was read any more");
        assert!(error.to_string().contains("changed while the run went on"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("reads"), filled);
    }

    #[test]
    fn writing_is_atomic_and_keeps_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let sheet = folder.path().join("sheet.md");
        fs::write(&sheet, "before").expect("writes");
        fs::set_permissions(&sheet, fs::Permissions::from_mode(0o640)).expect("sets");
        write(&sheet, "after").expect("writes");
        assert_eq!(fs::read_to_string(&sheet).expect("reads"), "after");
        assert_eq!(fs::metadata(&sheet).expect("there").permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1);
    }
}
