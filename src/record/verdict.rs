//! What a case came to, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names a case everywhere: in reports, on the command line (`--only`), in baselines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct CaseId {
    /// Path of the scenario file as given, or of the lab sheet.
    pub file: String,
    /// `id` of the scenario.
    pub scenario: String,
    /// Matrix combination, `v5`; empty when there is only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Row of a table, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
}

impl fmt::Display for CaseId {
    /// `lab3 · acl · row 2 · v5`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stem = self.file.rsplit('/').next().unwrap_or(&self.file);
        let stem = stem.rsplit_once('.').map_or(stem, |(name, _)| if name.is_empty() { stem } else { name });
        write!(f, "{stem} · {}", self.scenario)?;
        if let Some(row) = self.row {
            write!(f, " · row {row}")?;
        }
        if !self.variant.is_empty() {
            write!(f, " · {}", self.variant)?;
        }
        Ok(())
    }
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All that was expected happened, and a control shows that it could have been seen otherwise.
    Passed,
    /// The broker did something else.
    Failed,
    /// It could not be told: no broker, no witness, a control message missing.
    Errored,
    /// The target lacks what this case needs.
    Skipped,
    /// Failed, and the scenario's `known` says that this broker does.
    Known,
}

impl Verdict {
    /// True where the exit code must not be 0.
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::Errored)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Errored => "errored",
            Self::Skipped => "skipped",
            Self::Known => "known",
        })
    }
}

/// Where in a file, for people and editors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Path as given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The source line, for the caret.
    pub text: String,
    /// Characters under the caret.
    pub width: usize,
}

/// Some lines of a file, as they stand there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// Number of the first, from 1.
    pub line: usize,
    /// The lines.
    pub text: String,
}

/// Why a case is not Passed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// What the scenario wants: `deny: nobody receives it`.
    pub expected: String,
    /// What happened: `admin received it 0.6 ms later`.
    pub actual: String,
    /// The step or row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The packets that matter, oldest first, already in notation: `bob > PUBLISH …`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packets: Vec<String>,
    /// Those of them, or of earlier ones, that came instead of what is expected: `bob < PUBLISH …`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub came: Vec<String>,
    /// What is likely at fault and what to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What a table row gets in its PASSED cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowMark {
    /// As expected: `y`.
    Yes,
    /// Not as expected: `n`.
    No,
    /// Could not be told; the cell is left as it was.
    Unknown,
}

/// How binding a scenario is (RFC 2119 words of the standard).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Fails the run.
    #[default]
    Must,
    /// Reported; fails only under `--strict`.
    Should,
    /// Reported.
    May,
}

impl Level {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_must(&self) -> bool {
        *self == Self::Must
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        })
    }
}

/// What is known of a case before it runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CaseInfo {
    /// Its name everywhere.
    pub id: CaseId,
    /// One sentence of what must hold; for a row, what it does.
    pub title: String,
    /// Statement ids it covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spec: Vec<String>,
    /// How binding it is.
    #[serde(default, skip_serializing_if = "Level::is_must")]
    pub level: Level,
    /// Tags of the scenario.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Protocol revision of its clients: `3.1.1`; what `spec` is of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Points for passing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<f64>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// How a case ended, with all that a report needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The case.
    pub case: CaseInfo,
    /// Its end.
    pub verdict: Verdict,
    /// It passed, though what its SHOULD or MAY says did not happen: a free choice of this broker.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unmet: bool,
    /// It was skipped because somebody wanted so, not for what the broker lacks.
    #[serde(default, skip_serializing_if = "is_false")]
    pub left_out: bool,
    /// Seconds it took (virtual seconds under virtual time).
    pub seconds: f64,
    /// Why, unless Passed. For Skipped and Known the reason stands in `actual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Explanation>,
    /// How a denial was made: `silent`, `PUBACK 0x87`, `refused CONNECT (5)`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// Things worth saying though the case passed (a `should` that is not met, a `known` that passed).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_named_by_file_scenario_row_and_variant() {
        let mut id = CaseId {
            file: "labs/lab3.yaml".into(),
            scenario: "acl".into(),
            variant: "v5".into(),
            row: Some(2),
        };
        assert_eq!(id.to_string(), "lab3 · acl · row 2 · v5");
        id.variant.clear();
        id.row = None;
        id.file = ".hidden".into();
        assert_eq!(id.to_string(), ".hidden · acl");
    }

    #[test]
    fn only_failed_and_errored_are_bad() {
        let bad = [Verdict::Passed, Verdict::Failed, Verdict::Errored, Verdict::Skipped, Verdict::Known]
            .map(Verdict::is_bad);
        assert_eq!(bad, [false, true, true, false, false]);
    }
}
