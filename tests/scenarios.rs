//! Every YAML scenario is a test of its own on the bundled broker: under virtual time, so that waits
//! cost nothing; over loopback sockets where the waits are short; those of the standards also played by
//! rumqttc where they have no packet blocks, and the tagged ones over TLS and WebSocket. A failure shows
//! what `mqttlab run` shows. Says nothing about other brokers.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use mqttlab::diagnostic::{Source, has_errors};
use mqttlab::record::Verdict;
use mqttlab::report::{Console, ConsoleOptions, Report as _, Tally};
use mqttlab::runner::{self, Clock, RunOptions, Transport};
use mqttlab::scenario::op::{Op, WireAlternative, WireStepKind};
use mqttlab::scenario::{self, Body, Case, EngineKind, LoadOptions};
use paper::Paper;
use scenario_files::{Beside, yaml_files};

#[path = "it/support/paper.rs"]
mod paper;
#[path = "it/support/scenario_files.rs"]
mod scenario_files;

/// Cases that wait longer than this run under virtual time only.
const LONGEST_REAL_WAIT: Duration = Duration::from_secs(2);
const AT_ONCE: usize = 16;
/// Scenarios with this tag run over every transport.
const TRANSPORTS: &str = "transports";

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of a test is waiting.
    arguments.test_threads.get_or_insert(AT_ONCE);
    let trials = yaml_files(Path::new("scenarios")).iter().flat_map(|path| trials(path)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// `labs/will · id · v5`, and the same in other ways; of a file with errors, one that shows them.
fn trials(path: &Path) -> Vec<Trial> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let loaded = scenario::load(&Source::new(shown.clone(), text), &Beside(path), &LoadOptions::default());
    let file = shown.trim_start_matches("scenarios/").trim_end_matches(".yaml").to_owned();
    if has_errors(&loaded.diagnostics) {
        let findings: Vec<String> = loaded.diagnostics.iter().map(|d| d.render(false)).collect();
        return vec![Trial::test(file, move || Err(Failed::from(findings.join("\n\n"))))];
    }
    let mut trials = Vec::new();
    for case in loaded.cases {
        let mut name = [file.as_str(), &case.scenario, &case.variant].join(" · ");
        name.truncate(name.trim_end_matches(" · ").len());
        let mut trial = |how: &str, options: RunOptions| {
            let case = case.clone();
            let name = if how.is_empty() { name.clone() } else { format!("{name} · {how}") };
            trials.push(Trial::test(name, move || passes(&case, &options)));
        };
        let real = || RunOptions { clock: Clock::Real, ..RunOptions::default() };
        trial("", RunOptions { clock: Clock::Virtual, ..RunOptions::default() });
        if case.least > LONGEST_REAL_WAIT {
            continue;
        }
        trial("loopback", real());
        if file.starts_with("conformance/") && !case.clients.iter().any(|client| client.raw) {
            trial("rumqttc", RunOptions { engine: Some(EngineKind::Rumqttc), ..real() });
        }
        if case.tags.iter().any(|tag| tag == TRANSPORTS) {
            for transport in [Transport::Tls, Transport::WebSocket, Transport::SecureWebSocket] {
                trial(&transport.to_string(), RunOptions { transport: Some(transport), ..real() });
            }
        }
    }
    trials
}

/// Runs one case; what is not Passed is shown as the console shows it. What rumqttc cannot do is skipped
/// by name, and so is a scenario about brokers that lack what ours has (`| skip`).
fn passes(case: &Case, options: &RunOptions) -> Result<(), Failed> {
    let paper = Paper::default();
    let mut console = Console::new(Box::new(paper.clone()), ConsoleOptions::default());
    let mut tally = Tally::default();
    let options = RunOptions { seed: 1, ..options.clone() };
    let complete = runner::run(std::slice::from_ref(case), &options, &mut |event| {
        tally.event(&event);
        console.event(&event).expect("paper takes everything");
    })?;
    console.finish()?;
    let skips =
        if options.engine.is_some() || is_about_others(case) { tally.count(Verdict::Skipped) } else { 0 };
    let passed = tally.count(Verdict::Passed) + skips;
    if complete && tally.is_complete() && passed > 0 && passed == tally.ended() {
        return Ok(());
    }
    Err(Failed::from(paper.text()))
}

/// True if a packet line of the case lets go of brokers that answer otherwise.
fn is_about_others(case: &Case) -> bool {
    let Body::Steps(steps) = &case.body else { return false };
    let lines = steps.iter().filter_map(|step| match &step.op {
        Op::Packets(_, lines) => Some(lines),
        _ => None,
    });
    lines.flatten().any(|line| match &line.kind {
        WireStepKind::Expect(alternatives) => {
            alternatives.iter().any(|one| matches!(one, WireAlternative::Skip))
        }
        _ => false,
    })
}
