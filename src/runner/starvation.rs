//! Whether the machine let us run: a wait that ran out while it did not says nothing about a broker.
//!
//! Tells only how late the runner was. Who concludes something from silence asks it; who concludes
//! something from what came does not. Under a paused clock nothing is late.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::text::print_duration;

/// Between two looks at the clock.
const PERIOD: Duration = Duration::from_millis(100);
/// A look may be so late on a machine that has time for us.
const SLACK: Duration = Duration::from_millis(10);
/// Late looks that are remembered: of a hundred seconds at least.
const REMEMBERED: usize = 1000;
/// A wait of which this part was lost proves nothing: a quarter.
const PART: u32 = 4;

/// Looks at the clock while a case runs.
#[derive(Debug, Default)]
pub struct Starvation {
    delays: Arc<Mutex<Delays>>,
    looking: Option<JoinHandle<()>>,
}

impl Starvation {
    /// Begins to look, on the runtime of the case.
    pub fn watch() -> Self {
        let delays = Arc::new(Mutex::new(Delays::default()));
        delays.lock().look(Instant::now());
        let mine = Arc::clone(&delays);
        let looking = tokio::spawn(async move {
            loop {
                sleep(PERIOD).await;
                mine.lock().look(Instant::now());
            }
        });
        Self { delays, looking: Some(looking) }
    }

    /// Why nothing can be concluded from a wait from `since` to now; `None` where it can.
    pub fn excuse(&self, since: Instant) -> Option<String> {
        self.delays.lock().excuse(since, Instant::now())
    }
}

impl Drop for Starvation {
    fn drop(&mut self) {
        if let Some(looking) = &self.looking {
            looking.abort();
        }
    }
}

/// When looks at the clock came late.
#[derive(Debug, Default)]
struct Delays {
    /// When the next look is due; `None` where nobody looks.
    due: Option<Instant>,
    /// From when it was due to when it came, oldest first.
    late: VecDeque<(Instant, Instant)>,
}

impl Delays {
    fn look(&mut self, now: Instant) {
        if let Some(due) = self.due.filter(|due| now.saturating_duration_since(*due) > SLACK) {
            if self.late.len() == REMEMBERED {
                self.late.pop_front();
            }
            self.late.push_back((due, now));
        }
        self.due = Some(now + PERIOD);
    }

    /// How much of this time we were not run, as far as is known.
    fn lost(&self, since: Instant, now: Instant) -> Duration {
        // A look that is overdue now counts as if it came now.
        let overdue = self.due.map(|due| (due, now)).filter(|(due, now)| *now > *due + SLACK);
        let within =
            |(due, came): &(Instant, Instant)| (*came).min(now).saturating_duration_since((*due).max(since));
        self.late.iter().chain(&overdue).map(within).sum()
    }

    fn excuse(&self, since: Instant, now: Instant) -> Option<String> {
        let waited = now.saturating_duration_since(since);
        let lost = self.lost(since, now);
        (waited >= PERIOD && lost * PART >= waited).then(|| {
            let (lost, waited) = (print_duration(lost), print_duration(waited));
            format!("this machine was too busy: mqttlab itself could not run for {lost} of {waited}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Looks that each come so late, one after the other.
    fn looked(began: Instant, late: impl IntoIterator<Item = u32>) -> (Delays, Instant) {
        let mut delays = Delays::default();
        let mut now = began;
        delays.look(now);
        for late in late {
            now += PERIOD + MS * late;
            delays.look(now);
        }
        (delays, now)
    }

    #[test]
    fn a_machine_with_time_is_no_excuse() {
        let began = Instant::now();
        let (delays, now) = looked(began, [0, 3, 10, 1, 30, 0, 8, 9, 60, 2]);
        assert_eq!(delays.lost(began, now), MS * 90);
        assert_eq!(delays.excuse(began, now), None);
        // Nobody looks at the clock: it is not known.
        assert_eq!(Delays::default().excuse(began, began + MS * 9000), None);
    }

    #[test]
    fn one_long_stop_is_an_excuse_and_so_are_many_short_ones() {
        let began = Instant::now();
        let (delays, now) = looked(began, [0, 0, 200, 0, 0]);
        assert_eq!(
            delays.excuse(began, now).expect("200 of 700 ms"),
            "this machine was too busy: mqttlab itself could not run for 200 ms of 700 ms"
        );
        let (delays, now) = looked(began, [40; 40]);
        assert!(delays.excuse(began, now).is_some());
        // Of the last second alone, too.
        assert!(delays.excuse(now - MS * 1000, now).is_some());
        let (delays, now) = looked(began, [20; 40]);
        assert_eq!(delays.excuse(began, now), None);
    }

    #[test]
    fn only_what_was_lost_of_the_wait_itself_counts() {
        let began = Instant::now();
        let (delays, now) = looked(began, [0, 1000, 0, 0, 0, 0]);
        assert!(delays.excuse(began, now).is_some());
        assert_eq!(delays.lost(now - MS * 400, now), Duration::ZERO);
        assert_eq!(delays.lost(now - MS * 500, now), MS * 100);
        assert_eq!(delays.excuse(now - MS * 450, now), None);
        // A wait that was none.
        assert_eq!(delays.excuse(now - MS * 1400, now - MS * 1350), None);
    }

    #[test]
    fn a_look_that_is_overdue_counts() {
        let began = Instant::now();
        let (delays, now) = looked(began, [0, 0]);
        assert_eq!(delays.lost(began, now + PERIOD + SLACK), Duration::ZERO);
        assert_eq!(delays.lost(began, now + PERIOD + MS * 500), MS * 500);
        assert!(delays.excuse(began, now + PERIOD + MS * 500).is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (delays, _) = looked(Instant::now(), [50; REMEMBERED + 10]);
        assert_eq!(delays.late.len(), REMEMBERED);
    }

    #[tokio::test]
    async fn a_thread_that_is_kept_from_us_is_noticed() {
        let starvation = Starvation::watch();
        let since = Instant::now();
        tokio::task::yield_now().await;
        while since.elapsed() < PERIOD * 3 {
            std::hint::spin_loop();
        }
        assert!(starvation.excuse(since).is_some());
        assert_eq!(Starvation::default().excuse(since), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_late_under_virtual_time() {
        let starvation = Starvation::watch();
        let since = Instant::now();
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(starvation.excuse(since), None);
    }
}
