//! An ACL table of 10,000 rows over 50 users and 2,000 topics: on the bundled broker, on mosquitto,
//! and as a lecturer would do it with a shell loop of `mosquitto_pub` and `mosquitto_sub`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{MQTTLAB, measure};

const USERS: usize = 50;
const TOPICS: usize = 2_000;
const ROWS: usize = 10_000;
/// Rows that the shell loop is timed on.
const SAMPLE: usize = 12;

struct Row {
    topic: String,
    user: usize,
    publish: bool,
    allowed: bool,
}

/// User `u` may write below `site/u` and read there and below `site/u+1`.
fn rows() -> Vec<Row> {
    (0..ROWS)
        .map(|n| {
            let user = n % USERS;
            let topic = (n / USERS * 7 + user * 41) % TOPICS;
            let site = topic % USERS;
            let publish = (n / USERS).is_multiple_of(2);
            let allowed = site == user || (!publish && site == (user + 1) % USERS);
            Row { topic: format!("site/{site}/device/{topic}/value"), user, publish, allowed }
        })
        .collect()
}

fn scenario(rows: &[Row]) -> String {
    let mut text =
        String::from("lab: 1\nname: Ten thousand rows\nbroker:\n  allow_anonymous: false\n  users:\n");
    for user in 0..USERS {
        let next = (user + 1) % USERS;
        let _ = writeln!(
            text,
            "    user{user}: {{password: secret{user}, allow: {{readwrite: [\"site/{user}/#\"], read: [\"site/{next}/#\"]}}}}"
        );
    }
    text.push_str("scenarios:\n- id: big\n  name: Every cell\n  acl_table: |\n");
    text.push_str("    | Topic | User | Publish | Subscribe | Expectation |\n    |-|-|-|-|-|\n");
    for row in rows {
        let (publish, subscribe) = if row.publish { ("X", "-") } else { ("-", "X") };
        let expected = if row.allowed { "PASS" } else { "FAIL" };
        let _ =
            writeln!(text, "    | {} | user{} | {publish} | {subscribe} | {expected} |", row.topic, row.user);
    }
    text
}

/// Grades the table and prints what it took.
pub fn run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = rows();
    let file = folder.path().join("big.yaml");
    fs::write(&file, scenario(&rows)).expect("a writable folder");
    let allowed = rows.iter().filter(|row| row.allowed).count();
    println!("\nACL table: {ROWS} rows, {USERS} users, {TOPICS} topics, {allowed} allowed\n");
    println!("| grader | rows/s | seconds | peak MB |\n|---|---:|---:|---:|");
    grade("mqttlab, bundled broker", &file, "bundled");
    if has("mosquitto") {
        grade("mqttlab, mosquitto", &file, "mosquitto");
    }
    if has("mosquitto") && has("mosquitto_sub") {
        shell_loop(&rows);
    } else {
        println!("mosquitto or its clients are not installed: no shell loop to compare with");
    }
}

fn grade(name: &str, file: &Path, broker: &str) {
    let mut command = Command::new(MQTTLAB);
    command.args(["run", "--broker", broker]).arg(file).stdout(Stdio::null());
    let (code, time, peak) = measure(&mut command);
    assert_eq!(code, 0, "{name}: not all rows passed");
    print(name, ROWS, time, Some(peak));
}

fn print(name: &str, rows: usize, time: Duration, peak: Option<u64>) {
    let rate = rows as f64 / time.as_secs_f64();
    let peak = peak.map_or("–".into(), |kb| (kb / 1024).to_string());
    println!("| {name} | {rate:.1} | {:.2} | {peak} |", time.as_secs_f64());
}

fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--help")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .status()
        .is_ok()
}

/// A row at a time: a subscriber in the background, a publisher, and a second of waiting where
/// nothing may come.
fn shell_loop(rows: &[Row]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let passwords = folder.path().join("passwd");
    let acl = folder.path().join("acl");
    let mut rules = String::from("user admin\ntopic readwrite #\n");
    fs::write(&passwords, "").expect("a writable folder");
    let add = |user: &str, password: &str| {
        let done = Command::new("mosquitto_passwd")
            .arg("-b")
            .arg(&passwords)
            .args([user, password])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(done.is_ok_and(|status| status.success()), "mosquitto_passwd");
    };
    add("admin", "admin");
    for user in 0..USERS {
        let next = (user + 1) % USERS;
        add(&format!("user{user}"), &format!("secret{user}"));
        let _ = writeln!(rules, "user user{user}\ntopic readwrite site/{user}/#\ntopic read site/{next}/#");
    }
    fs::write(&acl, rules).expect("a writable folder");
    let settings = format!(
        "user root\nallow_anonymous false\npassword_file {}\nacl_file {}\n",
        passwords.display(),
        acl.display()
    );
    let Some(broker) = crate::process::Broker::start("mosquitto", &[], &settings) else { return };
    let port = broker.port.to_string();
    let step = ROWS / SAMPLE;
    let start = Instant::now();
    for row in rows.iter().step_by(step).take(SAMPLE) {
        let user = (format!("user{}", row.user), format!("secret{}", row.user));
        let admin = ("admin".to_owned(), "admin".to_owned());
        let (publisher, subscriber) = if row.publish { (&user, &admin) } else { (&admin, &user) };
        let script = format!(
            "mosquitto_sub -p {port} -u {su} -P {sp} -t '{t}' -C 1 -W 1 > {out} 2>/dev/null & s=$!; sleep 0.1; \
             mosquitto_pub -p {port} -u {pu} -P {pp} -t '{t}' -m probe -q 1; wait $s; grep -q probe {out}",
            su = subscriber.0,
            sp = subscriber.1,
            pu = publisher.0,
            pp = publisher.1,
            t = row.topic,
            out = folder.path().join("out").display(),
        );
        let received = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).status();
        let received = received.expect("a shell").success();
        assert_eq!(received, row.allowed, "the shell loop judges {} of {} otherwise", row.topic, user.0);
    }
    print("shell loop of mosquitto_pub and _sub, mosquitto", SAMPLE, start.elapsed(), None);
}
