//! What README shows is run as written: each line of a `sh` block with the exit code that its
//! comment names (0 otherwise), each `yaml` block as a scenario file. `cargo test` and `cargo bench`
//! are not started from within themselves.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::skip::skipped;

struct Block {
    language: String,
    line: usize,
    text: String,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in markdown.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block { language: language.to_owned(), line: number + 1, text: String::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "an open fence in README");
    found
}

fn readme() -> Vec<Block> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    blocks(&fs::read_to_string(root.join("README.md")).expect("README.md"))
}

/// Runs one shell line in the repository with `mqttlab` on PATH.
fn shell(line: &str, scratch: &Path) -> (i32, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_mqttlab"));
    let folder = program.parent().expect("in a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", path)
        .env("TMPDIR", scratch)
        .output()
        .expect("a shell");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&printed).into_owned())
}

#[test]
fn shell_blocks_do_what_they_say() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let has_mosquitto = Command::new("mosquitto").arg("-h").output().is_ok();
    assert!(has_mosquitto || std::env::var_os("CI").is_none(), "CI installs mosquitto");
    let mut ran = 0;
    for block in readme().iter().filter(|block| block.language == "sh") {
        for (offset, line) in block.text.lines().enumerate() {
            let place = format!("README.md:{}", block.line + offset + 1);
            let (command, comment) = line.split_once('#').unwrap_or((line, ""));
            let command = command.trim();
            if matches!(command, "cargo test" | "cargo bench" | "") {
                continue;
            }
            if command.contains("--broker mosquitto") && !has_mosquitto {
                skipped(&format!("{place}: mosquitto is not installed"));
                continue;
            }
            let command = command.replace("cargo run --release --", "mqttlab");
            let wanted =
                comment.trim().strip_prefix("exit ").map_or(0, |code| code.parse().expect("a number"));
            let (code, printed) = shell(&command, scratch.path());
            assert_eq!(code, wanted, "{place}: {command}\n{printed}");
            ran += 1;
        }
    }
    assert!(ran >= 8, "README shows commands");
}

#[test]
fn yaml_blocks_are_scenarios_that_pass() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let mut ran = 0;
    for block in readme().iter().filter(|block| block.language == "yaml") {
        let file = scratch.path().join(format!("readme-{}.yaml", block.line));
        fs::write(&file, &block.text).expect("a writable folder");
        let (code, printed) = shell(&format!("mqttlab run {}", file.display()), scratch.path());
        assert_eq!(code, 0, "README.md:{}\n{printed}", block.line);
        ran += 1;
    }
    assert!(ran >= 1, "README shows a scenario");
}

#[test]
fn the_two_commands_stand_first() {
    let shown: Vec<String> =
        readme().into_iter().filter(|block| block.language == "sh").map(|block| block.text).take(2).collect();
    assert_eq!(shown, ["cargo run --release -- run scenarios/labs\n", "cargo test\n"]);
}
