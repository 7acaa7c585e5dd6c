//! `scenarios/CI.md`: its YAML is YAML, and the commands of mqttlab in it do together what the page says,
//! with the variables that each service sets.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Played in place of all scenarios, which are played elsewhere.
const FEW: &str = "scenarios/labs/qos.yaml";

/// The fenced blocks of the page in this language.
fn blocks(language: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/CI.md");
    let page = fs::read_to_string(page).expect("the page");
    let mut found = Vec::new();
    for part in page.split("\n```").collect::<Vec<_>>().chunks(2) {
        if let [_, block] = part
            && let Some(text) = block.strip_prefix(&format!("{language}\n"))
        {
            found.push(text.to_owned());
        }
    }
    found
}

/// All strings in a document that call mqttlab, in their order.
fn commands(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.starts_with("mqttlab ") => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| commands(item, found)),
        Value::Object(keys) => keys.values().for_each(|item| commands(item, found)),
        _ => {}
    }
}

/// The commands of one recipe.
fn recipe(block: &str) -> Vec<String> {
    let mut found = Vec::new();
    for document in block.split("\n---\n") {
        let value: Value = serde_yaml::from_str(document).unwrap_or_else(|why| panic!("{why}\n{document}"));
        assert!(value.is_object(), "{document}");
        commands(&value, &mut found);
    }
    found
}

/// Runs a line as a service does: in a folder of its own, with its variables.
fn shell(line: &str, folder: &Path, variables: &[(&str, &str)]) -> (i32, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_mqttlab"));
    let programs = program.parent().expect("in a folder");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut line = line.to_owned();
    for scenarios in ["run scenarios ", "run /scenarios "] {
        let few = Path::new(env!("CARGO_MANIFEST_DIR")).join(FEW);
        line = line.replace(scenarios, &format!("run {} ", few.display()));
    }
    let output = Command::new("sh")
        .args(["-c", &line])
        .current_dir(folder)
        .env("PATH", path)
        .envs(variables.iter().copied())
        .output()
        .expect("a shell");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&printed).into_owned())
}

/// Runs all four shards and the merge of a recipe; with one left out it must be 6.
fn play(
    commands: &[String],
    shard: impl Fn(usize, &str) -> (String, Vec<(&'static str, String)>),
    reports: &[&str],
) {
    let [run, merge] = commands else { panic!("one run and one merge: {commands:?}") };
    let folder = tempfile::tempdir().expect("a folder");
    let summary = folder.path().join("summary.md");
    fs::write(&summary, "before\n").expect("writes");
    let summary_name = summary.display().to_string();
    let always = ("GITHUB_STEP_SUMMARY", summary_name.as_str());
    for index in 1..=4 {
        if index == 4 {
            let (code, printed) = shell(merge, folder.path(), &[always]);
            assert_eq!(code, 6, "one is missing: {printed}");
        }
        let (line, variables) = shard(index, run);
        let mut variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        variables.push(always);
        let (code, printed) = shell(&line, folder.path(), &variables);
        assert_eq!(code, 0, "{line}\n{printed}");
    }
    let (code, printed) = shell(merge, folder.path(), &[always]);
    assert_eq!(code, 0, "{merge}\n{printed}");
    for report in reports {
        let text = fs::read_to_string(folder.path().join(report)).expect("a report");
        assert!(
            text.contains("passed") || text.contains("testcase") || text.contains("ok 1"),
            "{report}: {text}"
        );
    }
    if merge.contains("markdown=github") {
        let text = fs::read_to_string(&summary).expect("a summary");
        assert!(text.starts_with("before\n") && text.contains("INCOMPLETE") && text.contains("✅"), "{text}");
    }
}

#[test]
fn the_recipe_for_github_works() {
    let block = &blocks("yaml")[0];
    let run = |index: usize, line: &str| {
        let expression = ["${{ matrix", ".shard }}"].concat();
        assert!(line.contains(&expression), "{line}");
        (line.replace(&expression, &index.to_string()), Vec::new())
    };
    play(&recipe(block), run, &["junit.xml"]);
}

#[test]
fn the_recipe_for_gitlab_works() {
    let block = &blocks("yaml")[1];
    let run = |index: usize, line: &str| {
        let variables = vec![("CI_NODE_INDEX", index.to_string()), ("CI_NODE_TOTAL", "4".to_owned())];
        (line.to_owned(), variables)
    };
    play(&recipe(block), run, &["junit.xml", "results.tap"]);
}

#[test]
fn the_recipe_for_kubernetes_works() {
    let block = &blocks("yaml")[2];
    let run =
        |index: usize, line: &str| (line.to_owned(), vec![("JOB_COMPLETION_INDEX", (index - 1).to_string())]);
    play(&recipe(block), run, &["junit.xml", "summary.md"]);
}

#[test]
fn the_commands_above_them_do_what_they_say() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().display().to_string();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut ran = 0;
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        let (command, comment) = line.split_once('#').unwrap_or((line, ""));
        let wanted = comment.trim().strip_prefix("exit ").map_or(0, |code| code.parse().expect("a number"));
        let (code, printed) = shell(command, root, &[("TMPDIR", &folder)]);
        assert_eq!(code, wanted, "{line}\n{printed}");
        ran += 1;
    }
    assert_eq!(ran, 4);
}
