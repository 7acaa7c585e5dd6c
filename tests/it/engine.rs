//! Packet scripts against the engine, on bytes but without sockets or clock: `fixtures/engine/*.txt`.
//!
//! ```text
//! ## What it shows [3.1.1, 5]        once for each version
//! set max_inflight_messages 2        before the first packet: an option
//! listener                           another listener: its options follow with `set`
//! via 1                              connections come in by this listener from here on
//! acl user alice   passwd a:$7$…     a line of the ACL or the password file (`forget`: none so far)
//! a> CONNECT clean client=a          actor `a` sends; a CONNECT opens a new connection
//! a(3.1.1)> CONNECT client=a         … of another version than the script's
//! a> hex c0 00                       any bytes
//! a< PUBACK id=1                     the next packet that comes, as far as the line says it
//! a= PUBACK id=1                     … exactly as it is printed
//! a< hex 20 02 00 00                 … these bytes
//! a< closed                          all was read, and the engine closes the connection
//! a> cut                             the transport is gone
//! a> stall        a> read            nothing is taken from the engine until `read`
//! +30s                               time passes, deadlines are met one by one
//! log> Client a disconnected.        the next line of the log (of types that `log` chose)
//! log*                               … the lines so far are of no interest
//! set persistence true               state is kept; then:
//! crash                              the broker is gone with all connections, and is back at once
//! stop                               the broker ends
//! reload                             the `set` and `acl` lines since are the new configuration
//! ```
//!
//! Nothing may come that no line names.

mod bounds;
mod setup;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mqttlab::broker::engine::{ConnId, Engine, Kept, Loss, Output, Peer, Record};
use mqttlab::mqtt::codec::{Decoder, Limits, MAX_REMAINING_LENGTH};
use mqttlab::mqtt::notation::{self, PacketLine};
use mqttlab::mqtt::{Packet, ProtocolVersion};
use mqttlab::text;

use setup::Setup;

/// A connection of an actor, as its client sees it.
struct Wire {
    conn: ConnId,
    version: ProtocolVersion,
    server: Decoder,
    bytes: BytesMut,
    stalled: bool,
    closed: bool,
}

struct Run {
    setup: Setup,
    engine: Option<Engine>,
    /// What earlier engines have kept.
    records: Vec<Vec<Record>>,
    now: Instant,
    version: ProtocolVersion,
    actors: BTreeMap<String, Wire>,
    log: VecDeque<String>,
    opened: u16,
    /// The listener that new connections come in by.
    via: usize,
}

impl Run {
    fn new(version: ProtocolVersion) -> Self {
        Self {
            setup: Setup::default(),
            engine: None,
            records: Vec::new(),
            now: Instant::now(),
            version,
            actors: BTreeMap::new(),
            log: VecDeque::new(),
            opened: 0,
            via: 0,
        }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        if self.setup.read(line)? {
            return Ok(());
        }
        if line == "reload" {
            let (config, rules) = (self.setup.config(), self.setup.rules()?);
            let now = self.now;
            self.engine()?.reload(config, rules, now);
            self.serve();
            return Ok(());
        }
        if let Some(listener) = line.strip_prefix("via ") {
            self.via = listener.parse().map_err(|e| format!("via: {e}"))?;
            return Ok(());
        }
        if line == "crash" {
            return self.crash();
        }
        if line == "stop" {
            let now = self.now;
            self.engine()?.shut_down(now);
            self.serve();
            return Ok(());
        }
        if let Some(time) = line.strip_prefix('+') {
            return self.pass(text::parse_duration(time).ok_or("+30s")?);
        }
        if let Some(wanted) = line.strip_prefix("log> ") {
            return match self.log.pop_front() {
                Some(line) if line == wanted.replace("\\t", "\t") => Ok(()),
                other => Err(format!("the log says {other:?}")),
            };
        }
        if line == "log*" {
            self.log.clear();
            return Ok(());
        }
        let at = line.find(['>', '<', '=']).ok_or("not a line of a script")?;
        let (actor, rest) = line.split_at(at);
        let (sign, rest) = rest.split_at(1);
        let rest = rest.trim();
        let (actor, version) = match actor.split_once('(') {
            Some((name, version)) => {
                (name, ProtocolVersion::parse(version.trim_end_matches(')')).ok_or("a version")?)
            }
            None => (actor, self.actors.get(actor).map_or(self.version, |wire| wire.version)),
        };
        match sign {
            ">" => self.send(actor, version, rest),
            "<" => self.expect(actor, rest),
            _ => self.expect_exactly(actor, rest),
        }
    }

    fn engine(&mut self) -> Result<&mut Engine, String> {
        if self.engine.is_none() {
            let mut engine = Engine::new(self.setup.config(), self.setup.rules()?, 1, self.now);
            if self.setup.persistence {
                let mut kept = Kept::default();
                self.records.iter().for_each(|batch| kept.apply(batch.iter().cloned()));
                engine.restore(kept, self.now);
            }
            self.engine = Some(engine);
        }
        self.engine.as_mut().ok_or_else(|| "an engine".to_owned())
    }

    /// The engine is dropped, and another one begins with what it kept.
    fn crash(&mut self) -> Result<(), String> {
        if let Some(mut engine) = self.engine.take() {
            self.records.push(engine.take_records());
        }
        match self.actors.iter().find(|(_, wire)| !wire.bytes.is_empty()) {
            Some((actor, _)) => return Err(format!("before the crash: {actor} did not expect all it got")),
            None => self.actors.clear(),
        }
        self.engine()?;
        self.serve();
        Ok(())
    }

    fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = self.now + time;
        while let Some(due) = self.engine()?.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let now = self.now;
            self.engine()?.handle_timeout(now);
            self.serve();
        }
        self.now = end;
        Ok(())
    }

    fn open(&mut self, actor: &str, version: ProtocolVersion) -> Result<(), String> {
        self.opened += 1;
        let address = ([127, 0, 0, 1], 50_000 + self.opened).into();
        let now = self.now;
        let peer = Peer::new(self.via, Some(address));
        let conn = self.engine()?.open(peer, now);
        let wire = Wire {
            conn,
            version,
            server: Decoder::server(Limits::default()),
            bytes: BytesMut::new(),
            stalled: false,
            closed: false,
        };
        match self.actors.insert(actor.to_owned(), wire) {
            Some(old) if !old.bytes.is_empty() => {
                Err(format!("before a new connection: {} bytes were not expected", old.bytes.len()))
            }
            _ => Ok(()),
        }
    }

    fn send(&mut self, actor: &str, version: ProtocolVersion, what: &str) -> Result<(), String> {
        let is_open = self.actors.get(actor).is_some_and(|wire| !wire.closed);
        if what == "open" || (what.starts_with("CONNECT") && !is_open) {
            self.open(actor, version)?;
        }
        let wire = self.actors.get_mut(actor).ok_or("no connection")?;
        match what {
            "open" => {
                self.serve();
                return Ok(());
            }
            "cut" => {
                wire.closed = true;
                let conn = wire.conn;
                let now = self.now;
                self.engine()?.handle_loss(conn, Loss::Eof, now);
                self.serve();
                return Ok(());
            }
            "stall" | "read" => {
                wire.stalled = what == "stall";
                self.take(actor);
                return Ok(());
            }
            _ => {}
        }
        let bytes = if let Some(hex) = what.strip_prefix("hex ") {
            text::parse_hex(hex).ok_or("hex digits")?
        } else {
            let line = PacketLine::parse(what).map_err(|e| e.to_string())?;
            line.build(version).map_err(|e| e.to_string())?.bytes.to_vec()
        };
        self.feed(actor, &bytes)
    }

    fn feed(&mut self, actor: &str, bytes: &[u8]) -> Result<(), String> {
        let limit = match self.setup.limits.max_packet_size {
            0 => MAX_REMAINING_LENGTH,
            limit => limit,
        };
        let rules = self.setup.rules()?;
        let wire = self.actors.get_mut(actor).ok_or("no connection")?;
        wire.server.set_limits(Limits { max_packet_size: limit });
        let engine = self.engine.as_mut().ok_or("no engine")?;
        let mut buffer = BytesMut::from(bytes);
        loop {
            match wire.server.decode(&mut buffer) {
                Ok(Some((Packet::Connect(connect), size))) if engine.version(wire.conn).is_none() => {
                    let auth =
                        rules.authenticate(0, connect.username.as_deref(), connect.password.as_deref());
                    engine.read(size as u64);
                    engine.handle_connect(wire.conn, *connect, auth, self.now);
                }
                Ok(Some((packet, size))) => engine.handle_packet(wire.conn, packet, size, self.now),
                Ok(None) => break,
                Err(error) => {
                    engine.handle_malformed(wire.conn, &error, self.now);
                    break;
                }
            }
        }
        self.serve();
        Ok(())
    }

    /// Does what the engine wants done.
    fn serve(&mut self) {
        while let Some(output) = self.engine.as_mut().and_then(Engine::poll_output) {
            match output {
                Output::Log(line) => self.log.push_back(line.text),
                Output::Wake(conn) => {
                    let actor = self.actors.iter().find(|(_, wire)| wire.conn == conn);
                    if let Some(actor) = actor.map(|(name, _)| name.clone()) {
                        self.take(&actor);
                    }
                }
            }
        }
    }

    fn take(&mut self, actor: &str) {
        let (Some(wire), Some(engine)) = (self.actors.get_mut(actor), &mut self.engine) else { return };
        while !wire.stalled && !wire.closed {
            let mut frames = Vec::new();
            let drained = engine.take_frames(wire.conn, 64, &mut frames, self.now);
            let version = engine.version(wire.conn).unwrap_or(wire.version);
            let before = wire.bytes.len();
            for frame in frames {
                frame.encode(version, &mut wire.bytes);
            }
            engine.wrote((wire.bytes.len() - before) as u64);
            if drained.close {
                wire.closed = true;
                engine.handle_loss(wire.conn, Loss::Eof, self.now);
            }
            if !drained.more {
                break;
            }
        }
    }

    fn expect(&mut self, actor: &str, what: &str) -> Result<(), String> {
        let wire = self.actors.get_mut(actor).ok_or("no connection")?;
        if what == "closed" {
            return match (wire.bytes.is_empty(), wire.closed) {
                (true, true) => Ok(()),
                (true, false) => Err("the connection is open".to_owned()),
                (false, _) => Err(format!("there is {}", show(wire))),
            };
        }
        if let Some(hex) = what.strip_prefix("hex ") {
            let wanted = text::parse_hex(hex).ok_or("hex digits")?;
            if !wire.bytes.starts_with(&wanted) {
                return Err(format!("came {}", text::hex(&wire.bytes)));
            }
            let _ = wire.bytes.split_to(wanted.len());
            return Ok(());
        }
        let line = PacketLine::parse(what).map_err(|e| e.to_string())?;
        let packet = next(wire)?.ok_or("nothing came")?;
        line.matches(&packet)
            .map_err(|it| format!("{} is {}, not {}", it.field, it.actual, it.expected))
            .map_err(|text| format!("came {}: {text}", notation::print(&packet, wire.version)))
    }

    fn expect_exactly(&mut self, actor: &str, what: &str) -> Result<(), String> {
        let wire = self.actors.get_mut(actor).ok_or("no connection")?;
        let packet = next(wire)?.ok_or("nothing came")?;
        let printed = notation::print(&packet, wire.version);
        if printed == what { Ok(()) } else { Err(format!("came {printed}")) }
    }

    /// At the end: nothing is left that no line named.
    fn finish(&mut self) -> Result<(), String> {
        for (name, wire) in &mut self.actors {
            if !wire.bytes.is_empty() {
                return Err(format!("at the end {name} has got {}", show(wire)));
            }
        }
        match self.log.pop_front() {
            Some(line) => Err(format!("at the end the log says {line:?}")),
            None => Ok(()),
        }
    }
}

fn next(wire: &mut Wire) -> Result<Option<Packet>, String> {
    let found = Decoder::client(wire.version, Limits::default()).decode(&mut wire.bytes);
    found.map(|it| it.map(|(packet, _)| packet)).map_err(|e| format!("the engine sent a {e}"))
}

fn show(wire: &mut Wire) -> String {
    match next(wire) {
        Ok(Some(packet)) => notation::print(&packet, wire.version),
        Ok(None) => "an incomplete packet".to_owned(),
        Err(error) => error,
    }
}

/// Runs one script for one version; what went wrong, with the line's number.
fn play(lines: &[(usize, &str)], version: ProtocolVersion) -> Result<(), (usize, String)> {
    let mut run = Run::new(version);
    let mut last = 0;
    for (number, line) in lines {
        last = *number;
        run.line(line).map_err(|error| (*number, format!("{line}\n    {error}")))?;
    }
    run.finish().map_err(|error| (last, error))
}

fn play_file(path: &Path, failures: &mut String) -> usize {
    let text = fs::read_to_string(path).expect("a readable script file");
    let lines: Vec<(usize, &str)> = (1..).zip(text.lines()).collect();
    let mut scripts = 0;
    let starts: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].1.starts_with("## ")).collect();
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(lines.len());
        let title = lines[*start].1.trim_start_matches("## ");
        let versions = title
            .rsplit_once('[')
            .and_then(|(_, list)| list.strip_suffix(']'))
            .unwrap_or_else(|| panic!("{}: `{title}` has no [versions]", path.display()));
        let body: Vec<(usize, &str)> = lines[start + 1..end]
            .iter()
            .map(|(number, line)| (*number, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .collect();
        for version in versions.split(',') {
            let version = ProtocolVersion::parse(version.trim())
                .unwrap_or_else(|| panic!("{}: `{version}` is no version", path.display()));
            scripts += 1;
            if let Err((number, error)) = play(&body, version) {
                let _ = writeln!(failures, "{}:{number}: {title}, {version}: {error}", path.display());
            }
        }
    }
    scripts
}

#[test]
fn packet_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/engine");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("fixtures/engine")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    let mut failures = String::new();
    let scripts: usize = paths.iter().map(|path| play_file(path, &mut failures)).sum();
    assert!(scripts > 100, "only {scripts} scripts were found");
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn a_script_can_fail() {
    let fails = |script: &str| {
        let lines: Vec<(usize, &str)> = (1..).zip(script.lines()).collect();
        play(&lines, ProtocolVersion::V311).is_err()
    };
    assert!(!fails("a> CONNECT clean client=a\na< CONNACK 0"));
    assert!(fails("a> CONNECT clean client=a"), "a packet that no line names");
    assert!(fails("a> CONNECT clean client=a\na< CONNACK 5"));
    assert!(fails("a> CONNECT clean client=a\na< CONNACK 0\na< PINGRESP"));
    assert!(fails("a> CONNECT clean client=a\na< CONNACK 0\na< closed"));
    assert!(fails("log notice\na> CONNECT clean client=a\na< CONNACK 0"), "a log line");
}
