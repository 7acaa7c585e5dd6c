//! A bar on a terminal while a run goes on; nothing anywhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::record::{CaseInfo, Event, EventKind};
use crate::text::escape;

/// The bar on stderr; hidden where stderr is no terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar that appears with the first event.
    pub fn new(visible: bool) -> Self {
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bar: ProgressBar::with_draw_target(None, target) }
    }

    /// Takes the next event.
    pub fn event(&self, event: &Event) {
        match &event.kind {
            EventKind::RunStarted { cases, .. } => {
                if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {wide_msg}") {
                    self.bar.set_style(style);
                }
                // Another run of the same log.
                self.bar.reset();
                self.bar.set_length(*cases as u64);
                self.bar.enable_steady_tick(Duration::from_millis(200));
            }
            EventKind::CaseStarted { case, .. } => self.bar.set_message(doing(case)),
            EventKind::CaseFinished { .. } => self.bar.inc(1),
            EventKind::RunFinished { .. } => self.clear(),
            _ => {}
        }
    }

    /// Writes something while the bar is out of the way.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn doing(case: &CaseInfo) -> String {
    escape(&case.id.to_string())
}
