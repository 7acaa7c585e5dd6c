//! Runs cases beside each other, one thread and one tokio runtime a case, and hands their events on
//! case by case.

use std::any::Any;
use std::cmp::Reverse;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::execute::{Session, calibrate, case_id, panicked, run_case};
use super::fence::Order;
use super::recorder::Recorder;
use super::target::Plan;
use super::{Clock, EnvironmentError, RunOptions, table};
use crate::record::{Event, EventKind};
use crate::scenario::{Body, Case};

/// See [`super::run`].
pub fn run(
    cases: &[Case],
    options: &RunOptions,
    sink: &mut (dyn FnMut(Event) + Send),
) -> Result<bool, EnvironmentError> {
    let began = Instant::now();
    let mut plan = Plan::new(&options.target)?.with_faults(&options.faults);
    let count = cases.iter().map(|case| count(case, options)).sum();
    sink(Event {
        at: 0.0,
        kind: EventKind::RunStarted {
            mqttlab: env!("CARGO_PKG_VERSION").into(),
            target: plan.name_in_log(options.transport),
            seed: options.seed,
            cases: count,
            virtual_time: options.clock == Clock::Virtual,
            started: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            plan: options.plan.clone(),
        },
    });
    let order = measure(&plan, cases, sink)?;
    plan.keep.clone_from(&options.keep_files);
    let session = Session { plan: &plan, options, order, gone: OnceLock::new(), findings: Mutex::default() };
    let complete = run_all(&session, cases, began, sink);
    let seconds = began.elapsed().as_secs_f64();
    for kind in session.findings.lock().events() {
        sink(Event { at: seconds, kind });
    }
    sink(Event { at: seconds, kind: EventKind::RunFinished { seconds, complete } });
    Ok(complete)
}

/// See [`super::count`].
pub fn count(case: &Case, options: &RunOptions) -> usize {
    match &case.body {
        Body::Steps(_) => 1,
        Body::Table(rows) => table::selected_rows(rows, &table::selected(case, options)).count(),
    }
}

/// The calibration, where the broker is not ours. A broker that cannot be had ends the run.
fn measure(
    plan: &Plan,
    cases: &[Case],
    sink: &mut (dyn FnMut(Event) + Send),
) -> Result<Order, EnvironmentError> {
    let Some(case) = cases.first() else { return Ok(Order::default()) };
    let no_target = |message: String| EnvironmentError::NoTarget { message };
    let runtime = runtime(false).map_err(|error| no_target(error.to_string()))?;
    let (order, events) = runtime.block_on(async {
        let recorder = Recorder::new(case_id(case), 0.0);
        let order = calibrate(plan, &recorder).await;
        (order, recorder.finish())
    });
    events.into_iter().filter(|event| matches!(event.kind, EventKind::Note { .. })).for_each(sink);
    order.map_err(|why| no_target(format!("{}: {why}", plan.name)))
}

fn runtime(paused: bool) -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().start_paused(paused).build()
}

fn run_all(
    session: &Session<'_>,
    cases: &[Case],
    began: Instant,
    sink: &mut (dyn FnMut(Event) + Send),
) -> bool {
    let order = order(cases, session.options.jobs);
    let next = AtomicUsize::new(0);
    let finished = AtomicUsize::new(0);
    // A broker that all cases share is used by one after the other.
    let jobs = if session.plan.own_broker() { session.options.jobs.max(1) } else { 1 };
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        for _ in 0..jobs.min(cases.len()) {
            let sender = sender.clone();
            let (order, next, finished) = (&order, &next, &finished);
            scope.spawn(move || work(session, cases, order, began, next, finished, &sender));
        }
        drop(sender);
        for events in receiver {
            events.into_iter().for_each(&mut *sink);
        }
    });
    finished.into_inner() == cases.len()
}

/// Which case comes when, as indices: where several run at the same time those that wait longest
/// begin first, so that nothing is left to wait for at the end.
fn order(cases: &[Case], jobs: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..cases.len()).collect();
    if jobs > 1 {
        order.sort_by_key(|index| Reverse(cases[*index].least));
    }
    order
}

/// One worker: takes the next case until none is left, time is up, or somebody interrupts.
fn work(
    session: &Session<'_>,
    cases: &[Case],
    order: &[usize],
    began: Instant,
    next: &AtomicUsize,
    finished: &AtomicUsize,
    sender: &SyncSender<Vec<Event>>,
) {
    loop {
        let over = session.options.budget.is_some_and(|budget| began.elapsed() >= budget);
        let interrupted = session.options.interrupt.as_ref().is_some_and(|interrupt| *interrupt.borrow());
        if over || interrupted {
            return;
        }
        let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)).copied() else { return };
        let case = &cases[index];
        let offset = began.elapsed().as_secs_f64();
        let events = catch_unwind(AssertUnwindSafe(|| one(session, case, index, offset)))
            .unwrap_or_else(|panic| Some(panicked(case, session.options, &message(&*panic), offset)));
        let Some(events) = events else { return };
        finished.fetch_add(1, Ordering::Relaxed);
        if sender.send(events).is_err() {
            return;
        }
    }
}

/// The events of one case; `None` if it was interrupted.
fn one(session: &Session<'_>, case: &Case, index: usize, offset: f64) -> Option<Vec<Event>> {
    let runtime = match runtime(Clock::is_virtual(case, session.options)) {
        Ok(runtime) => runtime,
        Err(error) => {
            return Some(panicked(case, session.options, &format!("no runtime: {error}"), offset));
        }
    };
    let interrupt = session.options.interrupt.clone();
    runtime.block_on(async {
        tokio::select! {
            events = run_case(session, case, index, offset) => Some(events),
            () = interrupted(interrupt) => None,
        }
    })
}

async fn interrupted(interrupt: Option<watch::Receiver<bool>>) {
    let Some(mut interrupt) = interrupt else { return pending().await };
    if interrupt.wait_for(|interrupted| *interrupted).await.is_err() {
        // Nobody is left who could interrupt.
        pending::<()>().await;
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
