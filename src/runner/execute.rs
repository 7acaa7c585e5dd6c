//! Executes one case: starts its broker, plays its steps or its table, and judges.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::actor::Actor;
use super::among;
use super::checks::Findings;
use super::context::{At, Context, fence_topic};
use super::denial;
use super::fence::{self, Actors, Order};
use super::left_out;
use super::link::Command;
use super::outcome::{Done, Trouble, excerpt, place};
use super::peer::{Doors, Part};
use super::random::Random;
use super::recorder::Recorder;
use super::requirements::missing;
use super::rumqttc;
use super::starvation::Starvation;
use super::table;
use super::target::{Plan, Target};
use super::traces;
use super::verdict::{Found, judge};
use super::{Clock, RunOptions};
use crate::check::statements::lookup;
use crate::record::{CaseId, CaseInfo, Event, EventKind, Explanation, Level, Outcome, Verdict};
use crate::scenario::op::{Op, Reply, Step, TargetAction};
use crate::scenario::{self, Body, Case, Subject};

/// How much later a peer may notice what its client has noticed already.
const GRACE: Duration = Duration::from_millis(100);

/// What a run gives every case.
#[derive(Debug)]
pub struct Session<'a> {
    /// The broker to start.
    pub plan: &'a Plan,
    /// How to run.
    pub options: &'a RunOptions,
    /// How far the broker's order can be trusted.
    pub order: Order,
    /// Why a broker at an address does not answer any more, once that was seen.
    pub gone: OnceLock<String>,
    /// What the passive checks made of the cases so far.
    pub findings: parking_lot::Mutex<Findings>,
}

impl Session<'_> {
    /// Whom `known` names in this case: the broker, or what plays the client that is tested.
    fn tested(&self, case: &Case) -> &str {
        let mut clients = case.clients.iter().filter(|client| !client.plays);
        match case.subject() {
            Subject::Client if clients.any(|client| rumqttc::plays(client, self.options.engine)) => "rumqttc",
            Subject::Client => "mqttlab",
            Subject::Broker | Subject::Bridge => &self.plan.name,
        }
    }

    /// A broker at an address may have been brought down by the case before: it is asked before each, and
    /// one that does not answer is not judged any more.
    async fn unanswering(&self, target: &Target) -> Option<String> {
        if self.plan.own_broker() {
            return None;
        }
        if self.gone.get().is_none()
            && let Err(why) = fence::answers(target).await
        {
            let _ = self.gone.set(why);
        }
        self.gone.get().cloned()
    }
}

/// The name of a case, its row left out.
pub fn case_id(case: &Case) -> CaseId {
    CaseId {
        file: case.file.clone(),
        scenario: case.scenario.clone(),
        variant: case.variant.clone(),
        row: None,
    }
}

/// What reports know of a case without rows.
pub fn case_info(case: &Case) -> CaseInfo {
    CaseInfo {
        id: case_id(case),
        title: case.name.clone(),
        spec: case.spec.clone(),
        level: level(case.level),
        tags: case.tags.clone(),
        protocol: case.protocol.to_string(),
        points: case.points,
        place: Some(place(&case.span)),
    }
}

fn begins(case: &Case) -> EventKind {
    let found = case.spec.iter().filter_map(|id| lookup(case.protocol, id));
    EventKind::CaseStarted {
        case: case_info(case),
        source: Some(excerpt(&case.span)),
        statements: found.map(|one| (one.id.clone(), one.paraphrase.clone())).collect(),
    }
}

fn level(level: scenario::Level) -> Level {
    match level {
        scenario::Level::Must => Level::Must,
        scenario::Level::Should => Level::Should,
        scenario::Level::May => Level::May,
    }
}

/// Runs one case and returns its events. `offset` is the time since the start of the run, seconds.
pub async fn run_case(session: &Session<'_>, case: &Case, index: usize, offset: f64) -> Vec<Event> {
    let recorder = Recorder::new(case_id(case), offset);
    recorder.push(begins(case));
    let (left_out, rows) = left_out::part(case, session.options);
    let mut found = match &rows {
        Some(rows) => in_time(session, case, rows, index, &recorder).await,
        None => Vec::new(),
    };
    if let Some(first) = found.first_mut() {
        first.breaches = recorder.breaches();
    }
    recorder.count(&mut session.findings.lock());
    found.extend(left_out);
    for found in found {
        let known = judge(case, session.tested(case), session.options.strict, found, &recorder);
        recorder.push(EventKind::CaseFinished { outcome: known });
    }
    recorder.finish()
}

/// What was found, or that there was no end of it.
async fn in_time(
    session: &Session<'_>,
    case: &Case,
    rows: &BTreeSet<usize>,
    index: usize,
    recorder: &Recorder,
) -> Vec<Found> {
    let limit = session.options.timeout.map(|limit| limit + case.least);
    let work = perform(session, case, rows, index, recorder);
    match limit {
        None => work.await,
        Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| {
            let actual = format!("not done after {}", crate::text::print_duration(limit));
            let trouble = Trouble::errored(&case.span, "an end", actual);
            Found::all(case, rows, &trouble)
        }),
    }
}

async fn perform(
    session: &Session<'_>,
    case: &Case,
    rows: &BTreeSet<usize>,
    index: usize,
    recorder: &Recorder,
) -> Vec<Found> {
    let carried = session.options.transport.map(|transport| transport.carry(case)).transpose();
    let lacking = match &carried {
        Ok(carried) => missing(session.plan, carried.as_ref().unwrap_or(case), session.options.engine),
        Err(reason) => Some(reason.clone()),
    };
    if let Some(reason) = lacking {
        return Found::all(case, rows, &Trouble::Skipped(reason));
    }
    let carried = carried.ok().flatten();
    let case = carried.as_ref().unwrap_or(case);
    let mut random = Random::new(session.options.seed, index);
    let roots = table::dollar_roots(case);
    let memory = Clock::is_virtual(case, session.options);
    let doors = match Doors::open(case, memory, &session.options.faults).await {
        Ok(doors) => doors,
        Err(error) => {
            let trouble = Trouble::errored(&case.span, "a port for a peer", error.to_string());
            return Found::all(case, rows, &trouble);
        }
    };
    let setup = doors.bridged(case);
    let target = match session.plan.start(&setup, &roots, random.next(), memory).await {
        Ok(target) => target,
        Err(error) => {
            let trouble = Trouble::errored(&case.span, "a broker", error.to_string());
            return Found::all(case, rows, &trouble);
        }
    };
    if let Some(why) = session.unanswering(&target).await {
        let trouble = Trouble::errored(&case.span, "a broker that answers", why);
        return Found::all(case, rows, &trouble);
    }
    recorder.hide(&target.secrets());
    if target.prepared.is_some() {
        recorder.own_broker(case);
    }
    let context = Context {
        case,
        recorder: recorder.clone(),
        variables: target.variables(),
        doors,
        captured: parking_lot::Mutex::default(),
        target: Mutex::new(target),
        nonce: random.nonce(),
        engine: session.options.engine,
        control: Mutex::new(None),
        order: session.order,
        tls: &session.options.tls,
        starvation: if memory { Starvation::default() } else { Starvation::watch() },
    };
    let found = match &case.body {
        Body::Steps(steps) => vec![play(&context, steps).await],
        Body::Table(table) => table::run(&context, table, rows).await,
    };
    let mut target = context.target.into_inner();
    let found = blame_the_dead(found, &mut target).await;
    recorder.broker_log(target.log.take());
    found
}

/// A broker that ended by itself has done nothing that could be judged.
async fn blame_the_dead(mut found: Vec<Found>, target: &mut Target) -> Vec<Found> {
    if found.iter().any(|found| matches!(found.trouble, Some(Trouble::Failed(_)))) {
        // The end of a process can be seen a moment later than the end of its connections.
        for _ in 0..10 {
            if target.died().is_some() {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
    let died = target.died();
    for found in &mut found {
        if let (Some(how), Some(Trouble::Failed(why))) = (&died, &found.trouble) {
            let mut why = why.clone();
            why.actual = format!("{}; {how}", why.actual);
            found.trouble = Some(Trouble::Errored(why));
        }
    }
    // The broker has done its duty and is nobody else's.
    if target.prepared.is_some() {
        let _ = target.kill().await;
    }
    found
}

/// Plays steps and looks into the inboxes at the end.
async fn play(context: &Context<'_>, steps: &[Step]) -> Found {
    let began = context.recorder.elapsed();
    let case = context.case;
    let actors: Vec<_> = case.clients.iter().map(|spec| Mutex::new(Actor::new(spec, context))).collect();
    let parts = Part::of(&case.clients);
    let at = At { context, span: &case.span, count: None };
    let stage = Stage { actors: &actors, parts: &parts };
    let mut result = beside_peers(at, run_steps(at, steps, stage), stage).await;
    if result.is_ok() {
        result = fence::strict_inboxes(at, &actors).await;
    }
    let mut trouble = result.err();
    if let Some(why) = trouble.as_mut().and_then(Trouble::explanation_mut) {
        why.packets = context.recorder.last_lines();
    }
    for actor in &actors {
        actor.lock().await.leave(Command::Drop).await;
    }
    let shared = context.target.lock().await.prepared.is_none();
    if shared {
        traces::clear(context).await;
    }
    Found {
        info: case_info(case),
        trouble,
        seconds: context.recorder.elapsed().saturating_sub(began).as_secs_f64(),
        mechanism: None,
        notes: Vec::new(),
        breaches: Vec::new(),
    }
}

/// The actors of a case, and what its peers play beside them.
#[derive(Clone, Copy)]
struct Stage<'f> {
    actors: &'f Actors<'f>,
    parts: &'f [Part<'f>],
}

/// Plays steps while the peers play their lines; done when all are.
async fn beside_peers<'f>(at: At<'f>, steps: Playing<'f>, stage: Stage<'f>) -> Done {
    let peers = stage.actors.iter().zip(stage.parts).zip(&at.context.case.clients);
    let peers = peers.filter(|(_, spec)| spec.plays);
    let playing = peers.map(|((actor, part), _)| -> Playing<'f> { Box::pin(part.play(at, actor)) });
    let playing: Vec<_> = playing.collect();
    if playing.is_empty() {
        return steps.await;
    }
    let steps = async {
        steps.await?;
        for part in stage.parts {
            part.done().await;
        }
        Ok(())
    };
    let mut playing = pin!(all_of(playing));
    let done = tokio::select! {
        biased;
        done = &mut playing => return done,
        done = steps => done,
    };
    // What a peer misses tells more: its client only waits for what the peer did not get to.
    match done {
        Ok(()) => Ok(()),
        Err(_) => timeout(GRACE, playing).await.unwrap_or(done),
    }
}

type Playing<'f> = Pin<Box<dyn Future<Output = Done> + 'f>>;

fn run_steps<'f>(at: At<'f>, steps: &'f [Step], stage: Stage<'f>) -> Playing<'f> {
    Box::pin(async move {
        for step in steps {
            run_step(at.at(&step.span), &step.op, stage).await?;
        }
        Ok(())
    })
}

async fn run_step<'f>(at: At<'f>, op: &'f Op, stage: Stage<'f>) -> Done {
    let Stage { actors, parts } = stage;
    match op {
        Op::Open(client, open) => actors[client.0].lock().await.open(at, open).await,
        Op::Send(client, request, Reply::Denied) => denial::denied(at, &actors[client.0], request).await,
        Op::Send(client, request, reply) => actors[client.0].lock().await.request(at, request, reply).await,
        Op::Expect(client, expect) => actors[client.0].lock().await.expect(at, expect).await,
        Op::ExpectAmong(clients, expect) => among::receive(at, actors, clients, expect).await,
        Op::Quiet(client) => fence::quiet(at, actors, client.0).await,
        Op::Packets(client, lines) => actors[client.0].lock().await.packets(at, lines).await,
        Op::Play(peer, lines) => {
            parts[peer.0].begin(at.span, lines);
            Ok(())
        }
        Op::Played(peer) => {
            parts[peer.0].done().await;
            Ok(())
        }
        Op::Closed(client, closed) => actors[client.0].lock().await.closed(at, closed).await,
        Op::Close(client, close) => actors[client.0].lock().await.close(at, close).await,
        Op::Pause(time) => {
            sleep(*time).await;
            Ok(())
        }
        Op::Target(action) => act_on_target(at, *action, actors).await,
        Op::Barrier => fence::fence(at, actors).await,
        Op::Spawn(branches) => {
            let branches = branches.iter().map(|steps| run_steps(at, steps, stage)).collect();
            all_of(branches).await
        }
        Op::Repeat(times, steps) => {
            for count in 1..=*times {
                run_steps(At { count: Some(count), ..at }, steps, stage).await?;
            }
            Ok(())
        }
    }
}

/// Waits for all branches; ends with the first that fails.
async fn all_of(mut branches: Vec<Playing<'_>>) -> Done {
    poll_fn(move |context| {
        let mut index = 0;
        while index < branches.len() {
            match branches[index].as_mut().poll(context) {
                Poll::Ready(Ok(())) => drop(branches.swap_remove(index)),
                Poll::Ready(Err(trouble)) => return Poll::Ready(Err(trouble)),
                Poll::Pending => index += 1,
            }
        }
        if branches.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

async fn act_on_target(at: At<'_>, action: TargetAction, actors: &Actors<'_>) -> Done {
    let ends = matches!(action, TargetAction::Stop | TargetAction::Kill | TargetAction::Restart);
    if ends {
        *at.context.control.lock().await = None;
        for actor in actors {
            actor.lock().await.excuse();
        }
    }
    let mut target = at.context.target.lock().await;
    at.context.recorder.restarted();
    let result = match action {
        TargetAction::Start => target.start().await,
        TargetAction::Stop => target.stop().await,
        TargetAction::Kill => target.kill().await,
        TargetAction::Restart => match target.stop().await {
            Ok(()) => target.start().await,
            stopped => stopped,
        },
        TargetAction::Reload => target.reload().await,
    };
    at.context.recorder.restarted();
    at.context.recorder.broker_log(target.log.take());
    drop(target);
    let wanted = format!("the broker does {action:?}").to_lowercase();
    result.map_err(|error| at.errored(wanted, error.to_string()))?;
    if action == TargetAction::Reload {
        // A round trip through the broker: what it reads again, it has read before.
        fence::fence(at, actors).await?;
    }
    Ok(())
}

/// What becomes of a case whose execution panicked: our fault, not the broker's.
pub fn panicked(case: &Case, options: &RunOptions, message: &str, at: f64) -> Vec<Event> {
    let why = Explanation {
        expected: "an mqttlab without faults".into(),
        actual: format!("a panic: {message}"),
        ..Explanation::default()
    };
    let trouble = Trouble::Errored(Box::new(why));
    let rows = table::selected(case, options);
    let finished = Found::all(case, &rows, &trouble).into_iter().map(|found| {
        let outcome = Outcome {
            case: found.info,
            verdict: Verdict::Errored,
            unmet: false,
            left_out: false,
            seconds: 0.0,
            why: found.trouble.and_then(|mut trouble| trouble.explanation_mut().cloned()),
            mechanism: None,
            notes: Vec::new(),
        };
        Event { at, kind: EventKind::CaseFinished { outcome } }
    });
    let started = Event { at, kind: begins(case) };
    std::iter::once(started).chain(finished).collect()
}

/// Measures the order of a broker that is not ours, once a run.
pub async fn calibrate(plan: &Plan, recorder: &Recorder) -> Result<Order, String> {
    if plan.is_bundled() {
        return Ok(Order::default());
    }
    let mut target = plan.start(&Arc::default(), &[], 0, false).await.map_err(|error| error.to_string())?;
    let topic = fence_topic(&Random::new(0, 0).nonce());
    let began = Instant::now();
    let order = fence::calibrate(&target, &topic).await?;
    if target.prepared.is_some() {
        let _ = target.kill().await;
    }
    if let Some(quiet) = order.quiet {
        recorder.note(format!(
            "{} does not deliver in order: absences are shown by {} of quiet (calibrated in {})",
            plan.name,
            crate::text::print_duration(quiet),
            crate::text::print_duration(began.elapsed())
        ));
    }
    Ok(order)
}
