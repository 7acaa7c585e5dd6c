//! The same bytes to our broker in its 2.0 personality and to Debian's mosquitto 2.0.11, and the
//! reactions side by side: `fixtures/differential.txt`.
//!
//! ```text
//! ## What is asked [3.1.1, 5]        once for each version
//! ~ why                              the brokers differ, and which of them does what the standard says
//! a> CONNECT clean client=a          as in the packet scripts: a packet, or `hex …`, `open`, `cut`
//! a<                                 waits for a packet: what comes by itself after another's `cut`
//! ```
//!
//! `N` in a client identifier or topic is the conversation's number, so that none meets what another
//! left, and each CONNECT has a keep-alive of 60. After each line a PINGREQ makes sure that the broker is done with it. A conversation without
//! `~` must go alike, one with `~` must not: a reason that is none any more is an error.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use mqttlab::mqtt::codec::{Decoder, Limits};
use mqttlab::mqtt::notation::{PacketLine, print};
use mqttlab::mqtt::{Packet, ProtocolVersion};
use mqttlab::text::{hex, parse_hex};

use crate::support::mosquitto::{mosquitto, mqttlab};

const CONF: &str = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_packet_size 2000\n";
const PINGREQ: [u8; 2] = [0xc0, 0];

struct Talk {
    title: String,
    version: ProtocolVersion,
    reason: Option<String>,
    lines: Vec<String>,
}

/// A connection, and all that came by it.
struct Actor {
    stream: TcpStream,
    version: ProtocolVersion,
    buffer: BytesMut,
    connected: bool,
    over: bool,
    came: Vec<String>,
}

impl Actor {
    fn open(port: u16, version: ProtocolVersion) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the broker listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("can be set");
        stream.set_nodelay(true).expect("can be set");
        Self { stream, version, buffer: BytesMut::new(), connected: false, over: false, came: Vec::new() }
    }

    /// The next packet; `None` at the end, which is noted.
    fn next(&mut self) -> Option<Packet> {
        let mut chunk = [0; 4096];
        while !self.over {
            match Decoder::client(self.version, Limits::default()).decode(&mut self.buffer) {
                Ok(Some((packet, _))) => return Some(packet),
                Ok(None) => {}
                Err(error) => {
                    self.note(format!("no packet ({error}): {}", hex(&self.buffer)));
                    self.buffer.clear();
                }
            }
            match self.stream.read(&mut chunk) {
                Ok(count) if count > 0 => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => self.end("silence"),
                // A reset says no more than an end of file: it depends on what was unread.
                _ => self.end("closed"),
            }
        }
        None
    }

    fn end(&mut self, how: &str) {
        self.over = true;
        self.note(how.to_owned());
    }

    fn note(&mut self, line: String) {
        // Invented identifiers are random.
        let shown = match line.split_once("assigned_client_id=") {
            Some((before, after)) => {
                let rest = after.split_once(' ').map_or("", |(_, rest)| rest);
                format!("{before}assigned_client_id=* {rest}")
            }
            None => line,
        };
        self.came.push(shown);
    }

    /// Sends, and reads what the broker answers to that.
    fn send(&mut self, bytes: &[u8]) {
        if self.over {
            return;
        }
        // It may have closed already: the end is read.
        let _ = self.stream.write_all(bytes);
        if self.connected {
            let _ = self.stream.write_all(&PINGREQ);
            while let Some(packet) = self.next().filter(|packet| *packet != Packet::PingResp) {
                self.note(print(&packet, self.version));
            }
        } else {
            self.wait();
        }
    }

    fn wait(&mut self) {
        if let Some(packet) = self.next() {
            self.connected |= matches!(&packet, Packet::ConnAck(ack) if ack.code.0 == 0);
            self.note(print(&packet, self.version));
            if !self.connected {
                self.wait();
            }
        }
    }
}

fn talks() -> Vec<Talk> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/differential.txt");
    let text = std::fs::read_to_string(path).expect("the conversations");
    let mut talks = Vec::new();
    for script in text.split("\n## ").skip(1) {
        let (title, body) = script.split_once('\n').expect("a title and lines");
        let (title, versions) = title.rsplit_once(" [").expect("versions");
        let lines = || body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        for version in versions.trim_end_matches(']').split(',') {
            talks.push(Talk {
                title: title.to_owned(),
                version: ProtocolVersion::parse(version.trim()).expect("a version"),
                reason: lines().find_map(|line| line.strip_prefix("~ ")).map(str::to_owned),
                lines: lines().filter(|line| !line.starts_with('~')).map(str::to_owned).collect(),
            });
        }
    }
    talks
}

/// Plays one conversation; all that came, actor by actor.
fn play(port: u16, number: usize, talk: &Talk) -> String {
    let mut actors: BTreeMap<&str, Actor> = BTreeMap::new();
    let mut gone = String::new();
    for line in &talk.lines {
        let at = line.find(['<', '>']).unwrap_or_else(|| panic!("{line}?"));
        let (name, what) = (&line[..at], line[at + 1..].trim());
        if line[at..].starts_with('<') {
            actors.get_mut(name).expect("a connection").wait();
            continue;
        }
        let begins = what == "open" || (what.starts_with("CONNECT") && !actors.contains_key(name));
        if begins {
            actors.insert(name, Actor::open(port, talk.version));
        }
        match what {
            "open" => {}
            "cut" => {
                let actor = actors.remove(name).expect("a connection");
                let _ = writeln!(gone, "{name} before it was cut: {}", actor.came.join(", "));
            }
            _ => {
                let what = what.replace("N/", &format!("{number}/")).replace("=N", &format!("={number}"));
                // 2.0.11 has a maximum of its own, which it tells who asks for none.
                let what = what.replace("CONNECT c", "CONNECT keepalive=60 c");
                let bytes = if let Some(digits) = what.strip_prefix("hex ") {
                    parse_hex(digits).expect("hex digits")
                } else {
                    let line = PacketLine::parse(&what).unwrap_or_else(|e| panic!("{what}: {e}"));
                    line.build(talk.version).unwrap_or_else(|e| panic!("{what}: {e}")).bytes.to_vec()
                };
                actors.get_mut(name).expect("a connection").send(&bytes);
            }
        }
    }
    // What others caused: it was on its way before this PINGREQ is answered.
    for (name, actor) in &mut actors {
        actor.send(&[]);
        let _ = writeln!(gone, "{name}: {}", actor.came.join(", "));
    }
    gone
}

#[test]
fn mosquitto_reacts_alike_or_the_reason_is_known() {
    let Some(theirs) = mosquitto(CONF, &[]) else { return };
    let theirs = theirs.unwrap_or_else(|refused| panic!("{}", refused.log));
    let ours = mqttlab(&format!("compat 2.0\n{CONF}"), &[]);
    let ours = ours.unwrap_or_else(|refused| panic!("{}", refused.log));
    let talks = talks();
    assert!(talks.len() > 60, "only {} conversations", talks.len());
    let mut problems = String::new();
    for (number, talk) in talks.iter().enumerate() {
        let (our, their) = (play(ours.port, number, talk), play(theirs.port, number, talk));
        let Talk { title, version, reason, .. } = talk;
        match reason {
            None if our != their => {
                let _ = writeln!(problems, "{title}, {version}:\n ours:\n{our} mosquitto's:\n{their}");
            }
            Some(reason) if our == their => {
                let _ = writeln!(problems, "{title}, {version}: no difference any more ({reason}):\n{our}");
            }
            _ => {}
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}
