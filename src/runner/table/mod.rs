//! Runs an ACL table: one connection a user, a witness and a control, all rows pipelined.
//!
//! The truth of a row is delivery, not the acknowledgement; attribution is by payload.

mod drive;
mod judge;
mod plan;

use std::collections::BTreeSet;

use super::RunOptions;
use super::context::Context;
use super::execute::{case_id, case_info};
use super::outcome::{Trouble, place};
use super::verdict::Found;
use crate::mqtt::TopicName;
use crate::record::{CaseId, CaseInfo};
use crate::scenario::table::{Action, Expected, Row, Table};
use crate::scenario::{Body, Case};
use drive::Driver;
use judge::{Court, Line};
pub use plan::concrete;
use plan::{Plan, Probe};

/// Numbers of the rows of this case to run; empty: all.
pub fn selected(case: &Case, options: &RunOptions) -> BTreeSet<usize> {
    let is_mine =
        |(file, scenario, _): &&(String, String, usize)| *file == case.file && *scenario == case.scenario;
    options.rows.iter().filter(is_mine).map(|(_, _, row)| *row).collect()
}

/// The rows to run.
pub fn selected_rows<'t>(table: &'t Table, rows: &'t BTreeSet<usize>) -> impl Iterator<Item = &'t Row> {
    table.rows.iter().filter(move |row| rows.is_empty() || rows.contains(&row.number))
}

/// First levels like `$lab` of the topics of a table, which `#` does not cover.
pub fn dollar_roots(case: &Case) -> Vec<String> {
    let Body::Table(table) = &case.body else { return Vec::new() };
    let roots = table.rows.iter().filter_map(|row| {
        let root = row.topic.split('/').next()?;
        (root.starts_with('$') && root != "$SYS" && root != "$share" && root.len() > 1)
            .then(|| root.to_owned())
    });
    roots.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What reports know of a row before it runs.
pub fn row_info(case: &Case, table: &Table, row: &Row) -> CaseInfo {
    let who = row.user.as_deref().unwrap_or("an anonymous client");
    let what: Vec<_> = row
        .checks
        .iter()
        .map(|check| {
            let verb = match check.action {
                Action::Publish => "publishes",
                Action::Subscribe => "subscribes to",
            };
            let expected = match check.expected {
                Expected::Allow => "allow",
                _ => "deny",
            };
            format!("{verb} {} ({expected})", row.topic)
        })
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "tables have fewer than 2^52 rows")]
    let share = case.points.map(|points| points / table.rows.len() as f64);
    CaseInfo {
        id: CaseId { row: Some(row.number), ..case_id(case) },
        title: format!("{who} {}", what.join(" and ")),
        points: row.points.or(share),
        place: Some(place(&row.topic_span)),
        ..case_info(case)
    }
}

/// Tables up to this size have all their packets in the event log, larger ones those of the rows
/// that did not pass.
const LOGGED_ROWS: usize = 200;

/// Runs the rows.
pub async fn run(context: &Context<'_>, table: &Table, rows: &BTreeSet<usize>) -> Vec<Found> {
    let wanted: Vec<&Row> = selected_rows(table, rows).collect();
    let plan = match Plan::new(wanted.iter().copied(), table) {
        Ok(plan) => plan,
        Err((row, why)) => {
            let trouble = Trouble::errored(&row.topic_span, "a topic that can be used", why);
            return Found::all(context.case, rows, &trouble);
        }
    };
    let sys = wanted.iter().any(|row| row.topic.starts_with("$SYS"));
    let mut found = Vec::with_capacity(wanted.len());
    let driver = Driver::connect(context, &plan.parties, &dollar_roots(context.case), sys).await;
    let mut driver = match driver {
        Ok(driver) => driver,
        Err(why) => {
            return Found::all(context.case, rows, &Trouble::errored(&context.case.span, WORKING, why));
        }
    };
    let mut left: Option<String> = None;
    for mut probes in plan.batches {
        let began = context.recorder.elapsed();
        if left.is_none() {
            left = driver.batch(&mut probes).await.err();
        }
        if let (Some(why), Some(died)) = (&left, context.target.lock().await.died()) {
            left = Some(format!("{why}; {died}"));
        }
        let count = u32::try_from(probes.len()).unwrap_or(u32::MAX).max(1);
        let share = context.recorder.elapsed().saturating_sub(began) / count;
        for probes in probes.chunk_by(|a, b| a.row.number == b.row.number) {
            let (mut row, packets) = rule(context, table, probes, &driver, left.as_deref()).await;
            row.seconds = share.as_secs_f64();
            if row.trouble.is_some() || wanted.len() <= LOGGED_ROWS {
                for packet in &packets {
                    packet.record(&context.recorder);
                }
            }
            found.push(row);
        }
    }
    clean(context, &wanted, &mut driver).await;
    found
}

const WORKING: &str = "a control client and a witness that work";

/// What is found about one row (passed if all its checks are), and its packets.
async fn rule(
    context: &Context<'_>,
    table: &Table,
    probes: &[Probe<'_>],
    driver: &Driver,
    left: Option<&str>,
) -> (Found, Vec<Line>) {
    let row = probes[0].row;
    let mut found = Found {
        info: row_info(context.case, table, row),
        trouble: left.map(|why| Trouble::errored(&row.topic_span, WORKING, why)),
        seconds: 0.0,
        mechanism: None,
        notes: Vec::new(),
        breaches: Vec::new(),
    };
    if found.trouble.is_some() {
        return (found, Vec::new());
    }
    let target = context.target.lock().await;
    let court = Court {
        version: context.case.protocol,
        acl: target.prepared.as_ref().and_then(|prepared| prepared.acl.as_ref()),
        client_id: driver.client_id(probes[0].party),
        known_user: row.user.as_deref().is_some_and(|user| target.password(user).is_some()),
    };
    let (mut mechanisms, mut packets) = (Vec::new(), Vec::new());
    for probe in probes {
        let ruling = judge::judge(probe, &court);
        mechanisms.extend(ruling.mechanism);
        packets.extend(ruling.packets);
        let (first, second) = worse(found.trouble.take(), ruling.trouble);
        found.trouble = first;
        found.notes.extend(second.and_then(|mut trouble| {
            trouble
                .explanation_mut()
                .map(|why| format!("also expected {}; actual {}", why.expected, why.actual))
        }));
    }
    mechanisms.dedup();
    found.mechanism = (!mechanisms.is_empty()).then(|| mechanisms.join("; "));
    (found, packets)
}

/// Of two troubles of a row the one that counts, and the other: a failure is not hidden by what could
/// not be told.
fn worse(one: Option<Trouble>, other: Option<Trouble>) -> (Option<Trouble>, Option<Trouble>) {
    match (one, other) {
        (Some(one), Some(other))
            if !matches!(one, Trouble::Failed(_)) && matches!(other, Trouble::Failed(_)) =>
        {
            (Some(other), Some(one))
        }
        (Some(one), other) => (Some(one), other),
        (None, other) => (other, None),
    }
}

/// A broker that goes on living gets its retained messages taken away again.
async fn clean(context: &Context<'_>, rows: &[&Row], driver: &mut Driver) {
    if context.target.lock().await.prepared.is_some() {
        return;
    }
    let retained =
        rows.iter().filter(|row| row.retain).filter_map(|row| TopicName::new(row.topic.as_str()).ok());
    let topics: BTreeSet<TopicName> = retained.collect();
    driver.clean(&topics.into_iter().collect::<Vec<_>>()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Source, Span};

    #[test]
    fn a_failure_is_not_hidden_by_what_could_not_be_told() {
        let span = Span::new(&Source::new("a.yaml", "x"), 0..1);
        let failed = || Some(Trouble::failed(&span, "this", "that"));
        let errored = || Some(Trouble::errored(&span, "this", "unknown"));
        assert!(matches!(worse(errored(), failed()), (Some(Trouble::Failed(_)), Some(Trouble::Errored(_)))));
        assert!(matches!(worse(failed(), errored()), (Some(Trouble::Failed(_)), Some(Trouble::Errored(_)))));
        assert!(matches!(worse(errored(), None), (Some(Trouble::Errored(_)), None)));
        assert!(matches!(worse(None, failed()), (Some(Trouble::Failed(_)), None)));
    }
}
