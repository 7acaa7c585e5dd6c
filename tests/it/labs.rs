//! The lab 03 sheet and the labs as their users run them: the program as a whole, on the bundled
//! broker, on mosquitto, and on a broker that runs already. What a single part does is tested there.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::mosquitto::{self, Running};

const SHEET: &str = "fixtures/tables/lab03.md";
const GOOD: &str = "fixtures/acl/lab03/all-17.acl";

/// Runs `mqttlab run …` in the repository, temporary files in `scratch`.
fn run(scratch: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mqttlab"))
        .arg("run")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("TMPDIR", scratch)
        .env("NO_COLOR", "1")
        .output()
        .expect("mqttlab starts")
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The bundled broker, and mosquitto where it is installed.
fn brokers() -> Vec<&'static str> {
    if mosquitto::program("mosquitto").is_some() {
        return vec!["bundled", "mosquitto"];
    }
    vec!["bundled"]
}

/// Rows that failed, from the console's failure lines.
fn failed_rows(printed: &str) -> Vec<usize> {
    let mut rows: Vec<usize> = printed
        .lines()
        .filter(|line| line.starts_with("FAIL "))
        .filter_map(|line| line.split_once("row ")?.1.split_whitespace().next()?.parse().ok())
        .collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_broken_line_fails_exactly_the_rows_that_need_it() {
    let good = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(GOOD)).expect("the ACL");
    // The line that is broken, what it becomes, and the rows of the sheet that depend on it.
    let breaks: [(&str, &str, &[usize]); 4] = [
        ("topic write /sensor/fanspeed/data", "topic write /sensor/fanspeeed/data", &[7]),
        ("topic write /sensor/temperature/data", "topic read /sensor/temperature/data", &[13]),
        ("pattern write /sensor/%u/+/data", "pattern write /sensor/%c/+/data", &[15, 16, 17]),
        ("user user3", "user user4", &[5, 12]),
    ];
    for (line, broken, rows) in breaks {
        let scratch = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(good.matches(line).count(), 1, "{line}");
        let acl = scratch.path().join("student.acl");
        fs::write(&acl, good.replace(line, broken)).expect("a writable folder");
        for broker in brokers() {
            let acl = acl.display().to_string();
            let output = run(scratch.path(), &[SHEET, "--acl", &acl, "--broker", broker]);
            let printed = text(&output);
            assert_eq!(output.status.code(), Some(1), "{broker}, {broken}\n{printed}");
            assert_eq!(failed_rows(&printed), rows, "{broker}, {broken}\n{printed}");
            assert!(!printed.contains("ERROR"), "{printed}");
            let hints = printed.matches("student.acl:").count();
            let missing = printed.matches("no line").count();
            assert!(hints + missing >= rows.len(), "each row has its hint\n{printed}");
            assert!(printed.contains(" > ") && printed.contains(" < "), "and its packets\n{printed}");
        }
    }
}

#[test]
fn the_text_of_the_exercise_misses_row_2_and_names_the_line() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    for broker in brokers() {
        let acl = "fixtures/acl/lab03/as-the-text-asks.acl";
        let output = run(scratch.path(), &[SHEET, "--acl", acl, "--broker", broker]);
        let printed = text(&output);
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert_eq!(failed_rows(&printed), [2], "{printed}");
        assert!(printed.contains("`topic readwrite /sensor/+/data` under `user user1`"), "{printed}");
        assert!(printed.contains("as-the-text-asks.acl:5"), "{printed}");
    }
}

#[test]
fn nothing_secret_is_reported_or_left_behind() {
    for broker in brokers() {
        let scratch = tempfile::tempdir().expect("a temporary folder");
        let reports = tempfile::tempdir().expect("a temporary folder");
        let events = reports.path().join("events.jsonl");
        let junit = reports.path().join("junit.xml");
        let json = format!("json={}", events.display());
        let xml = format!("junit={}", junit.display());
        let arguments =
            ["scenarios/labs/tls", "--broker", broker, "--trace", "--report", &json, "--report", &xml];
        let output = run(scratch.path(), &arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let left: Vec<_> = fs::read_dir(scratch.path()).expect("the folder").collect();
        assert!(left.is_empty(), "{broker} leaves {left:?}");
        let read = |path: &Path| fs::read_to_string(path).expect("a report");
        for told in [text(&output), read(&events), read(&junit)] {
            assert!(!told.contains("PRIVATE KEY"), "{broker}");
            assert!(!told.contains("iotlab"), "{broker}: a password");
        }
    }
}

/// A broker as a lab has it: accounts, the sheet's ACL, and an account that may do everything.
fn lab_broker() -> Running {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let acl = fs::read_to_string(root.join(GOOD)).expect("the ACL") + "\nuser admin\ntopic readwrite #\n";
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let passwords = scratch.path().join("passwd");
    fs::write(&passwords, "").expect("a writable folder");
    for (user, password) in
        [("admin", "admin"), ("user1", "iotlab"), ("user2", "iotlab"), ("user3", "iotlab")]
    {
        let made = Command::new(env!("CARGO_BIN_EXE_mqttlab"))
            .args(["passwd", "-b"])
            .arg(&passwords)
            .args([user, password])
            .status()
            .expect("mqttlab starts");
        assert!(made.success());
    }
    let passwords = fs::read_to_string(&passwords).expect("the password file");
    let conf =
        "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {dir}/passwd\nacl_file {dir}/acl\n";
    match mosquitto::mqttlab(conf, &[("passwd", &passwords), ("acl", &acl)]) {
        Ok(running) => running,
        Err(refused) => panic!("{:?}: {}", refused.code, refused.log),
    }
}

#[test]
fn a_running_broker_is_graded_by_its_profile() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let broker = lab_broker();
    let address = format!("mqtt://127.0.0.1:{}", broker.port);
    let output =
        run(scratch.path(), &[SHEET, "--broker", &address, "--profile", "fixtures/profiles/lab03.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    // Without accounts the sheet says nothing about this broker.
    let output =
        run(scratch.path(), &[SHEET, "--broker", &format!("mqtt://admin:admin@127.0.0.1:{}", broker.port)]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(text(&output).contains("accounts"), "{}", text(&output));
}

#[test]
fn a_shared_broker_is_left_as_it_was() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let broker = lab_broker();
    let address = format!("mqtt://admin:admin@127.0.0.1:{}", broker.port);
    let labs = ["retain", "last_will", "publish_subscribe"].map(|lab| format!("scenarios/labs/{lab}.yaml"));
    let arguments = [labs[0].as_str(), &labs[1], &labs[2], "--broker", &address];
    for turn in 1..=2 {
        let output = run(scratch.path(), &arguments);
        let printed = text(&output);
        assert_eq!(output.status.code(), Some(0), "turn {turn}\n{printed}");
        assert!(printed.contains("36 passed"), "turn {turn}\n{printed}");
    }
}
