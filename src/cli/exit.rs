//! Exit codes, as SCENARIOS.md fixes them. The only place that knows the numbers.

use std::process::ExitCode;

use crate::record::Verdict;
use crate::report::Tally;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything passed, or there was nothing to complain about.
    Success,
    /// A test failed, or could not be told.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// A scenario, sheet or configuration file is invalid.
    Invalid,
    /// Nothing matches the selection, or all that does was skipped.
    NothingSelected,
    /// No broker, no port, no file to write to.
    Environment,
    /// Not all cases ran, for want of time.
    Incomplete,
    /// Ctrl-C.
    Interrupted,
    /// A code of the program that a command imitates (`mqttlab passwd`, `mqttlab broker`).
    Other(u8),
}

/// All codes that mean something, with the sentence that `mqttlab explain exit-codes` prints.
pub const EXITS: &[(Exit, &str)] = &[
    (Exit::Success, "all passed (known deviations and skipped cases included)"),
    (Exit::Failed, "a test failed, or errored: it could not be told"),
    (Exit::Usage, "the command line makes no sense"),
    (Exit::Invalid, "a file is invalid; all findings are printed, nothing was started"),
    (
        Exit::NothingSelected,
        "no test ran: --only, --tag, --skip-tag and --protocol leave none, or the target can do none",
    ),
    (Exit::Environment, "the environment could not be had: no broker, no port, no file to write to"),
    (
        Exit::Incomplete,
        "the run is incomplete: the time budget ended before all cases had run, or a shard is missing",
    ),
    (Exit::Interrupted, "interrupted by Ctrl-C; the reports hold what had run until then"),
];

impl Exit {
    /// What a run comes to. With `forgiving`, tests that failed are no reason for another code than 0.
    pub fn of(tally: &Tally, forgiving: bool) -> Self {
        if !tally.is_complete() || tally.missing() > 0 {
            Self::Incomplete
        } else if tally.is_bad() && !forgiving {
            Self::Failed
        } else if tally.count(Verdict::Skipped) == tally.ended() {
            Self::NothingSelected
        } else {
            Self::Success
        }
    }

    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::NothingSelected => 4,
            Self::Environment => 5,
            Self::Incomplete => 6,
            Self::Interrupted => 130,
            Self::Other(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_language_page() {
        let codes: Vec<u8> = EXITS.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 130]);
    }
}
