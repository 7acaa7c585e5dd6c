//! What can be known of a case's set-up before anything starts: options, statement ids, and the
//! files of the broker.

use crate::diagnostic::Diagnostic;
use crate::scenario::Case;

/// All findings about these cases' set-ups, each once.
pub fn check(cases: &[Case]) -> Vec<Diagnostic> {
    let _ = cases;
    Vec::new()
}
