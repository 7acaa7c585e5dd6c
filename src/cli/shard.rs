//! `--shard i/n`: which part of the selected cases this process runs, and the plan by which the parts
//! find each other again (`mqttlab merge`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::record::{RunPlan, Shard};
use crate::runner::{self, RunOptions};
use crate::scenario::Case;
use crate::text::hex;

/// The most parts of a run.
const MOST: usize = 1000;
/// What a case costs beside its waits, and each of its rows.
const CASE: Duration = Duration::from_millis(20);
const ROW: Duration = Duration::from_micros(200);

/// Reads `2/5`.
pub fn parse(text: &str) -> Result<Shard, String> {
    let parts = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
    match parts {
        Some((index, of)) if (1..=of).contains(&index) && of <= MOST => Ok(Shard { index, of }),
        _ => Err(format!("write it as i/n with 1 <= i <= n <= {MOST}, such as 2/5")),
    }
}

/// What the selected cases come to, before they are parted. `given` holds the texts of files that the
/// command line names: `again` has their paths alone.
pub fn plan(
    cases: &[Case],
    options: &RunOptions,
    shard: Option<Shard>,
    again: String,
    given: &[String],
) -> RunPlan {
    let mut hash = Sha256::new();
    let mut word = |text: &str| {
        // Lengths keep words apart.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    word(env!("CARGO_PKG_VERSION"));
    word(&again);
    for text in given {
        word(text);
    }
    let mut texts = BTreeSet::new();
    for case in cases {
        for part in [&case.file, &case.scenario, &case.variant] {
            word(part);
        }
        if texts.insert(&case.span.source.name) {
            word(&case.span.source.text);
        }
        let broker = &case.setup.broker;
        for file in [&broker.config, &broker.acl, &broker.password_file].into_iter().flatten() {
            if texts.insert(&file.path) {
                word(&file.text);
            }
        }
    }
    for (file, scenario, row) in &options.rows {
        word(file);
        word(scenario);
        word(&row.to_string());
    }
    for (id, why) in &options.left_out {
        word(&id.file);
        word(&id.to_string());
        word(why);
    }
    let digest = hash.finalize();
    RunPlan {
        hash: hex(&digest[..8]).replace(' ', ""),
        cases: cases.iter().map(|case| runner::count(case, options)).sum(),
        shard,
        again,
    }
}

/// The cases of one part, in their order. Scenarios stay whole, with all rows and variants; the longest
/// are dealt first, each to the part that has least to do.
pub fn part(cases: Vec<Case>, shard: Shard, options: &RunOptions) -> Vec<Case> {
    let mut costs: BTreeMap<(&str, &str), Duration> = BTreeMap::new();
    for case in &cases {
        let rows = u32::try_from(runner::count(case, options)).unwrap_or(u32::MAX);
        let cost = runner::waits(case, options) + CASE + ROW.saturating_mul(rows);
        *costs.entry((&case.file, &case.scenario)).or_default() += cost;
    }
    let mut dealt: Vec<_> = costs.into_iter().map(|(name, cost)| (Reverse(cost), name)).collect();
    dealt.sort_unstable();
    let mut loads = vec![Duration::ZERO; shard.of];
    let mut mine = BTreeSet::new();
    for (Reverse(cost), (file, scenario)) in dealt {
        let least = (0..shard.of).min_by_key(|index| (loads[*index], *index)).unwrap_or(0);
        loads[least] += cost;
        if least + 1 == shard.index {
            mine.insert((file.to_owned(), scenario.to_owned()));
        }
    }
    cases.into_iter().filter(|case| mine.contains(&(case.file.clone(), case.scenario.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_numbered_from_one() {
        assert_eq!(parse("2/5"), Ok(Shard { index: 2, of: 5 }));
        for wrong in ["0/5", "6/5", "5", "1/0", "-1/3", "1/1001", "a/b", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
