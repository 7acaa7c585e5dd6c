//! Every option of mosquitto.conf: which field its line fills, which values it takes, and the
//! sentence for those that it does not take; asked of Debian's mosquitto too where it has the option.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use mqttlab::broker::config::options::{self, Status};
use mqttlab::broker::config::{BridgeTls, Compat, Config, ConfigFiles, Overrides, TlsFiles};
use mqttlab::diagnostic::Diagnostic;

/// One file in memory, in a folder with another.
struct Text<'a>(&'a str);

impl ConfigFiles for Text<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        let included = path.starts_with("conf.d");
        Ok(if included { "max_queued_messages 7\n".to_owned() } else { self.0.to_owned() })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec![folder.join("a.conf")])
    }
}

fn load(text: &str, compat: Compat) -> (Option<Config>, Vec<Diagnostic>) {
    let overrides = Overrides { compat: Some(compat), ..Overrides::default() };
    Config::load(&Text(text), Some(Path::new("c")), &overrides)
}

/// A line, and what a field is then.
struct Row(&'static str, fn(&Config) -> String, &'static str);

fn show(value: impl Debug) -> String {
    format!("{value:?}")
}

/// The lines that a line needs around it.
fn complete(line: &str) -> String {
    let name = line.split(' ').next().unwrap_or_default();
    let spec = options::find(name).expect("an option");
    let parts: &[&str] = match spec.scope {
        options::Scope::Bridge => &["connection b", "address h", "topic #", "bridge_cafile a"],
        options::Scope::Listener if name != "listener" => {
            &["listener 1", "certfile c", "keyfile k", "cafile a"]
        }
        _ => &[],
    };
    let (mut text, mut after) = (String::new(), String::new());
    let mut own = Some(line);
    for part in parts {
        let stem = part.split(' ').next().unwrap_or_default();
        let proxied = name == "enable_proxy_protocol" && part.contains("file");
        match own.filter(|_| name.trim_end_matches("es") == stem) {
            Some(line) => {
                text = text + line + "\n";
                own = None;
            }
            None if proxied => {}
            None => text = text + part + "\n",
        }
    }
    if let Some(line) = own {
        text = text + line + "\n";
    }
    match name {
        "bridge_certfile" => after += "bridge_keyfile k\n",
        "bridge_keyfile" => after += "bridge_certfile c\n",
        "autosave_interval"
        | "autosave_on_changes"
        | "persistence_file"
        | "persistence_location"
        | "persistence_sync" => after += "persistence true\n",
        "log_facility" => after += "log_dest syslog\n",
        "idle_timeout" | "threshold" => after += "start_type lazy\n",
        "http_dir" | "websockets_origin" => after += "protocol websockets\n",
        "proxy_protocol_v2_require_tls" => {
            return format!("listener 1\nenable_proxy_protocol 2\n{line}\n");
        }
        _ => {}
    }
    text + &after
}

fn tls(config: &Config) -> &TlsFiles {
    config.listeners[0].tls.as_ref().expect("certificate and key")
}

fn bridge_tls(config: &Config) -> &BridgeTls {
    config.bridges[0].tls.as_ref().expect("authorities")
}

fn persisted(config: &Config) -> String {
    let found = config.persistence.as_ref().expect("persistence true");
    format!("{} {:?} {:?}", found.file.display(), found.sync, found.autosave)
}

fn check(rows: &[Row]) -> BTreeSet<&'static str> {
    let mut seen = BTreeSet::new();
    for Row(line, field, expected) in rows {
        let (config, found) = load(&complete(line), Compat::V21);
        let errors: Vec<&Diagnostic> = found.iter().filter(|one| one.is_error()).collect();
        let config = config.unwrap_or_else(|| panic!("{line}: {errors:?}"));
        assert_eq!(field(&config), *expected, "{line}");
        let name = line.split(' ').next().unwrap_or_default();
        seen.insert(options::find(name).expect("an option").name);
    }
    seen
}

#[test]
fn each_option_fills_its_field() {
    let mut seen = check(GLOBAL);
    seen.extend(check(LISTENER));
    seen.extend(check(BRIDGE));
    let done: BTreeSet<&str> = options::all()
        .filter(|one| !matches!(one.status, Status::Ignored(_) | Status::Refused(_)))
        .map(|one| one.name)
        .collect();
    let without_field = ["dhparamfile", "set_tcp_nodelay"];
    let expected: BTreeSet<&str> = done.into_iter().filter(|name| !without_field.contains(name)).collect();
    assert_eq!(seen, expected);
}

const GLOBAL: &[Row] = &[
    Row("compat 2.1", |c| show(c.compat), "V21"),
    Row("include_dir conf.d", |c| show(c.limits.max_queued_messages), "7"),
    Row("max_inflight_messages 5", |c| show(c.limits.max_inflight_messages), "5"),
    Row("max_inflight_bytes 9", |c| show(c.limits.max_inflight_bytes), "9"),
    Row("max_inflight_bytes -1", |c| show(c.limits.max_inflight_bytes), "0"),
    Row("max_queued_messages 5", |c| show(c.limits.max_queued_messages), "5"),
    Row("max_queued_bytes 9", |c| show(c.limits.max_queued_bytes), "9"),
    Row("max_packet_size 20", |c| show(c.limits.max_packet_size), "20"),
    Row("max_packet_size 0x40", |c| show(c.limits.max_packet_size), "64"),
    Row("message_size_limit 9", |c| show(c.limits.message_size_limit), "9"),
    Row("max_keepalive 65535", |c| show(c.limits.max_keepalive), "65535"),
    Row("persistent_client_expiration 2h", |c| show(c.limits.persistent_client_expiration), "Some(7200s)"),
    Row("queue_qos0_messages true", |c| show(c.limits.queue_qos0_messages), "true"),
    Row("retain_available false", |c| show(c.limits.retain_available), "false"),
    Row("retain_expiry_interval 5", |c| show(c.limits.retain_expiry_interval), "Some(300s)"),
    Row("check_retain_source true", |c| show(c.limits.check_retain_source), "true"),
    Row("upgrade_outgoing_qos true", |c| show(c.limits.upgrade_outgoing_qos), "true"),
    Row("allow_duplicate_messages false", |c| show(c.limits.allow_duplicate_messages), "false"),
    Row("clientid_prefixes lab-", |c| show(&c.limits.clientid_prefixes), "Some(\"lab-\")"),
    Row("global_max_clients 3", |c| show(c.limits.global_max_clients), "Some(3)"),
    Row("global_max_clients -1", |c| show(c.limits.global_max_clients), "None"),
    Row("global_max_connections 3", |c| show(c.limits.global_max_connections), "Some(3)"),
    Row("memory_limit 5000000000", |c| show(c.limits.memory_limit), "Some(5000000000)"),
    Row("memory_limit 0", |c| show(c.limits.memory_limit), "None"),
    Row("sys_interval 65535", |c| show(c.sys_interval), "Some(65535s)"),
    Row("sys_interval 0", |c| show(c.sys_interval), "None"),
    Row("log_dest topic", |c| show(&c.log.destinations), "[Topic]"),
    Row("log_dest syslog", |c| show(&c.log.destinations), "[Syslog(None)]"),
    Row("log_dest stdout unbuffered", |c| show(&c.log.destinations), "[Stdout]"),
    Row("log_facility 5", |c| show(&c.log.destinations), "[Syslog(Some(5))]"),
    Row("log_type none", |c| show(c.log.types), "LogTypes(0)"),
    Row("log_timestamp false", |c| show(c.log.timestamp), "false"),
    Row("log_timestamp_format %H", |c| show(&c.log.timestamp_format), "Some(\"%H\")"),
    Row("connection_messages false", |c| show(c.log.connection_messages), "false"),
    Row("persistence true", persisted, "mosquitto.db Autosave Every(1800s)"),
    Row("retained_persistence 1", persisted, "mosquitto.db Autosave Every(1800s)"),
    Row("persistence false", |c| show(&c.persistence), "None"),
    Row("persistence_file lab.db", persisted, "lab.db Autosave Every(1800s)"),
    Row("persistence_location /var/x", persisted, "/var/x/mosquitto.db Autosave Every(1800s)"),
    Row("autosave_interval 60", persisted, "mosquitto.db Autosave Every(60s)"),
    Row("autosave_interval -1", persisted, "mosquitto.db Autosave Never"),
    Row("autosave_on_changes true", persisted, "mosquitto.db Autosave Changes(1800)"),
    Row("persistence_sync always", persisted, "mosquitto.db Always Every(1800s)"),
    Row("persistence_sync interval", persisted, "mosquitto.db Interval Every(1800s)"),
    Row("user nobody", |c| show(&c.process.user), "Some(\"nobody\")"),
    Row("packet_buffer_size 8192", |c| show(c.process.packet_buffer_size), "8192"),
    Row("websockets_headers_size 9000", |c| show(c.process.packet_buffer_size), "9000"),
    Row("pid_file /run/x.pid", |c| show(&c.process.pid_file), "Some(\"/run/x.pid\")"),
    Row("allow_anonymous false", |c| show(c.security[0].allow_anonymous), "false"),
    Row("password_file p", |c| show(&c.security[0].password_file), "Some(\"p\")"),
    Row("acl_file a", |c| show(&c.security[0].acl_file), "Some(\"a\")"),
    Row("per_listener_settings true", |c| show(c.local_only), "true"),
    Row("allow_zero_length_clientid false", |c| show(c.security[0].allow_zero_length_clientid), "false"),
    Row("auto_id_prefix lab-", |c| show(&c.security[0].auto_id_prefix), "\"lab-\""),
];

const LISTENER: &[Row] = &[
    Row("listener 1884 ::1", |c| show(&c.listeners[0].bind), "Some(\"::1\")"),
    Row(
        "listener 0 /run/m.sock",
        |c| show((&c.listeners[0].unix, c.listeners[0].port)),
        "(Some(\"/run/m.sock\"), 0)",
    ),
    Row("listener 0 m.sock", |c| show(&c.listeners[0].unix), "Some(\"m.sock\")"),
    Row(
        "listener 0 127.0.0.1",
        |c| show((&c.listeners[0].unix, &c.listeners[0].bind)),
        "(None, Some(\"127.0.0.1\"))",
    ),
    Row("port 9", |c| show(c.listeners[0].port), "9"),
    Row("bind_address ::1", |c| show(&c.listeners[0].bind), "Some(\"::1\")"),
    Row("listener_allow_anonymous true", |c| show(c.security[c.zone(0)].allow_anonymous), "true"),
    Row("listener_auto_id_prefix lab-", |c| show(&c.security[c.zone(0)].auto_id_prefix), "\"lab-\""),
    Row("bind_interface eth0", |c| show(&c.listeners[0].interface), "Some(\"eth0\")"),
    Row("socket_domain ipv4", |c| show(c.listeners[0].domain), "V4"),
    Row("socket_domain ipv6", |c| show(c.listeners[0].domain), "V6"),
    Row("max_connections 3", |c| show(c.listeners[0].max_connections), "Some(3)"),
    Row("max_connections -5", |c| show(c.listeners[0].max_connections), "None"),
    Row("max_qos 1", |c| show(c.listeners[0].max_qos), "AtLeastOnce"),
    Row("maximum_qos 0", |c| show(c.listeners[0].max_qos), "AtMostOnce"),
    Row("max_topic_alias 0", |c| show(c.listeners[0].max_topic_alias), "0"),
    Row("max_topic_alias_broker 65535", |c| show(c.listeners[0].max_topic_alias_broker), "65535"),
    Row("mount_point lab 1/", |c| show(&c.listeners[0].mount_point), "Some(\"lab 1/\")"),
    Row("accept_protocol_versions 4, 5", |c| show(&c.listeners[0].versions), "[V311, V5]"),
    Row("accept_protocol_versions 3,6 # x", |c| show(&c.listeners[0].versions), "[V31]"),
    Row("enable_proxy_protocol 1", |c| show(c.listeners[0].proxy_protocol), "Some(V1)"),
    Row("proxy_protocol_v2_require_tls true", |c| show(c.listeners[0].proxy_requires_tls), "true"),
    Row("protocol websockets", |c| show(c.listeners[0].protocol), "WebSockets"),
    Row("http_dir /srv/www", |c| show(&c.listeners[0].http_dir), "Some(\"/srv/www\")"),
    Row("websockets_origin https://a", |c| show(&c.listeners[0].origins), "[\"https://a\"]"),
    Row("use_username_as_clientid true", |c| show(c.listeners[0].use_username_as_clientid), "true"),
    Row("certfile /s.crt", |c| show(&tls(c).certfile), "\"/s.crt\""),
    Row("keyfile /s.key", |c| show(&tls(c).keyfile), "\"/s.key\""),
    Row("cafile /ca.crt", |c| show(&tls(c).cafile), "Some(\"/ca.crt\")"),
    Row("capath /certs", |c| show(&tls(c).capath), "Some(\"/certs\")"),
    Row("crlfile /crl.pem", |c| show(&tls(c).crlfile), "Some(\"/crl.pem\")"),
    Row("require_certificate true", |c| show(tls(c).require_certificate), "true"),
    Row("use_identity_as_username true", |c| show(tls(c).identity), "CommonName"),
    Row("use_subject_as_username true", |c| show(tls(c).identity), "Subject"),
    Row("disable_client_cert_date_checks true", |c| show(tls(c).ignore_client_dates), "true"),
    Row("tls_version tlsv1.3", |c| show(tls(c).min_version), "V13"),
    Row("ciphers HIGH", |c| show(&tls(c).ciphers), "Some(\"HIGH\")"),
    Row("ciphers_tls1.3 X", |c| show(&tls(c).ciphers_tls13), "Some(\"X\")"),
];

const BRIDGE: &[Row] = &[
    Row("connection cloud # x", |c| show(&c.bridges[0].name), "\"cloud\""),
    Row(
        "address h:8883 [::1]:5 x # y",
        |c| show(&c.bridges[0].addresses),
        "[(\"h\", 8883), (\"::1\", 5), (\"x\", 1883)]",
    ),
    Row("addresses h", |c| show(&c.bridges[0].addresses), "[(\"h\", 1883)]"),
    Row(
        "topic a/# BOTH 2 l/ r/ x",
        |c| show(&c.bridges[0].topics[0]),
        "BridgeTopic { pattern: Some(\"a/#\"), direction: Both, qos: ExactlyOnce, local_prefix: \"l/\", remote_prefix: \"r/\" }",
    ),
    Row(
        "topic \"\" in 0 l r",
        |c| show(&c.bridges[0].topics[0]),
        "BridgeTopic { pattern: None, direction: In, qos: AtMostOnce, local_prefix: \"l\", remote_prefix: \"r\" }",
    ),
    Row(
        "topic # out 1 \"\" r/",
        |c| show(&c.bridges[0].topics[0]),
        "BridgeTopic { pattern: Some(\"#\"), direction: Out, qos: AtLeastOnce, local_prefix: \"\", remote_prefix: \"r/\" }",
    ),
    Row("topic \"a b\" in", |c| show(&c.bridges[0].topics[0].pattern), "Some(\"a b\")"),
    Row("topic a # out", |c| show(c.bridges[0].topics[0].direction), "Out"),
    Row("bridge_attempt_unsubscribe false", |c| show(c.bridges[0].attempt_unsubscribe), "false"),
    Row("bridge_bind_address ::1", |c| show(&c.bridges[0].bind_address), "Some(\"::1\")"),
    Row("bridge_max_packet_size 9", |c| show(c.bridges[0].max_packet_size), "9"),
    Row("bridge_max_topic_alias 0", |c| show(c.bridges[0].max_topic_alias), "0"),
    Row("bridge_outgoing_retain false", |c| show(c.bridges[0].outgoing_retain), "false"),
    Row("bridge_protocol_version mqttv50", |c| show(c.bridges[0].version), "V5"),
    Row("bridge_receive_maximum 9", |c| show(c.bridges[0].receive_maximum), "9"),
    Row("bridge_reload_type immediate", |c| show(c.bridges[0].reload_at_once), "true"),
    Row("bridge_session_expiry_interval 9", |c| show(c.bridges[0].session_expiry_secs), "9"),
    Row("bridge_tcp_keepalive 60 10 3", |c| show(c.bridges[0].tcp_keepalive), "Some((60s, 10s, 3))"),
    Row("bridge_tcp_user_timeout 5000", |c| show(c.bridges[0].tcp_user_timeout), "Some(5s)"),
    Row("cleansession true", |c| show(c.bridges[0].clean_session), "true"),
    Row("local_cleansession true", |c| show(c.bridges[0].local_clean_session), "Some(true)"),
    Row("keepalive_interval 3", |c| show(c.bridges[0].keep_alive), "5s"),
    Row("idle_timeout 9", |c| show(c.bridges[0].start), "Lazy { threshold: 10, idle: 9s }"),
    Row("threshold 9", |c| show(c.bridges[0].start), "Lazy { threshold: 9, idle: 60s }"),
    Row("start_type once", |c| show(c.bridges[0].start), "Once"),
    Row("restart_timeout 4000", |c| show(c.bridges[0].restart), "Constant(3600s)"),
    Row(
        "restart_timeout 5 9000 7",
        |c| show(c.bridges[0].restart),
        "Jitter { base: 5s, cap: 7200s, stable: 7s }",
    ),
    Row("round_robin true", |c| show(c.bridges[0].round_robin), "true"),
    Row("try_private false", |c| show(c.bridges[0].try_private), "false"),
    Row("notifications false", |c| show(c.bridges[0].notifications), "None"),
    Row("notifications_local_only true", |c| show(c.bridges[0].notifications), "Local"),
    Row("notification_topic n", |c| show(&c.bridges[0].notification_topic), "Some(\"n\")"),
    Row("clientid i", |c| show(&c.bridges[0].remote_client_id), "Some(\"i\")"),
    Row("remote_clientid i", |c| show(&c.bridges[0].remote_client_id), "Some(\"i\")"),
    Row("local_clientid i", |c| show(&c.bridges[0].local_client_id), "Some(\"i\")"),
    Row("username u", |c| show(&c.bridges[0].remote_username), "Some(\"u\")"),
    Row("remote_username u", |c| show(&c.bridges[0].remote_username), "Some(\"u\")"),
    Row("password p", |c| show(&c.bridges[0].remote_password), "Some(\"p\")"),
    Row("remote_password p", |c| show(&c.bridges[0].remote_password), "Some(\"p\")"),
    Row("local_username u", |c| show(&c.bridges[0].local_username), "Some(\"u\")"),
    Row("local_password p", |c| show(&c.bridges[0].local_password), "Some(\"p\")"),
    Row("bridge_cafile a", |c| show(&bridge_tls(c).cafile), "Some(\"a\")"),
    Row("bridge_capath a", |c| show(&bridge_tls(c).capath), "Some(\"a\")"),
    Row("bridge_tls_use_os_certs true", |c| show(bridge_tls(c).system_authorities), "true"),
    Row("bridge_certfile c", |c| show(&bridge_tls(c).certfile), "Some(\"c\")"),
    Row("bridge_keyfile k", |c| show(&bridge_tls(c).keyfile), "Some(\"k\")"),
    Row("bridge_insecure true", |c| show(bridge_tls(c).insecure), "true"),
    Row("bridge_alpn mqtt", |c| show(&bridge_tls(c).alpn), "Some(\"mqtt\")"),
    Row("bridge_ciphers HIGH", |c| show(&bridge_tls(c).ciphers), "Some(\"HIGH\")"),
    Row("bridge_ciphers_tls1.3 X", |c| show(&bridge_tls(c).ciphers_tls13), "Some(\"X\")"),
    Row("bridge_tls_version tlsv1.3", |c| show(bridge_tls(c).min_version), "V13"),
];

/// `line | sentence`: what is not taken, in 2.1's words.
#[test]
fn values_out_of_range_are_refused_in_mosquittos_words() {
    let text = include_str!("../../fixtures/config/refused.txt");
    let mut lines: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (conf, sentence) = line.rsplit_once(" | ").expect("a sentence");
        assert!(lines.insert(conf, sentence).is_none(), "{conf} twice");
        let (config, found) = load(&(conf.replace(';', "\n") + "\n"), Compat::V21);
        let errors: Vec<&str> =
            found.iter().filter(|one| one.is_error()).map(|one| one.message.as_str()).collect();
        assert_eq!(config, None, "{conf}");
        assert_eq!(errors, [sentence], "{conf}");
    }
    assert!(lines.len() > 60, "the table was read");
}

/// The environment of a distribution's service file is stronger than its mosquitto.conf.
#[test]
fn the_environment_says_where_things_are_kept() {
    let overrides = Overrides { persistence_location: Some("/srv/m".into()), ..Overrides::default() };
    let text = "persistence true\npersistence_location /var/lib/mosquitto/\npersistence_file x.db\n";
    let (config, _) = Config::load(&Text(text), Some(Path::new("c")), &overrides);
    let persistence = config.and_then(|config| config.persistence).expect("asked for");
    assert_eq!(persistence.file, Path::new("/srv/m/x.db"));
}

#[test]
fn the_default_of_duplicates_is_that_of_the_version() {
    let duplicates = |compat| load("", compat).0.expect("good").limits.allow_duplicate_messages;
    assert!(duplicates(Compat::V21) && !duplicates(Compat::V20));
}

/// A reload takes what belongs to the broker; what a listener was opened with stays, but for the
/// versions that it accepts, and bridges follow 2.1.
#[test]
fn a_reload_takes_new_versions_and_bridges_with_2_1() {
    let old = "listener 1\nmax_qos 1\nconnection a\naddress h\ntopic #\n";
    let fresh = "listener 1\nmax_qos 0\naccept_protocol_versions 5\nmax_keepalive 9\n";
    for (compat, versions, bridges) in [(Compat::V20, 3, 1), (Compat::V21, 1, 0)] {
        let (old, fresh) = (load(old, compat).0.expect("good"), load(fresh, compat).0);
        let mut fresh = fresh.expect("good");
        assert!(!fresh.keep_listeners(&old), "the sockets are the same");
        assert_eq!((fresh.listeners[0].versions.len(), fresh.bridges.len()), (versions, bridges));
        assert_eq!((fresh.listeners[0].max_qos.as_u8(), fresh.limits.max_keepalive), (1, 9));
    }
}

/// Options behind `port` belong to the default listener in 2.1, to the listener above in 2.0.
#[test]
fn the_default_listener_takes_options_with_2_1() {
    let text = "listener 7\nport 8\nmax_qos 1\n";
    for (compat, expected) in [(Compat::V20, [1, 2]), (Compat::V21, [2, 1])] {
        let config = load(text, compat).0.expect("good");
        assert_eq!(config.listeners.iter().map(|one| one.max_qos.as_u8()).collect::<Vec<_>>(), expected);
    }
}

/// An included file's blocks end with it, and the main file's go on behind it.
#[test]
fn a_bridge_goes_on_behind_an_include() {
    let text = "connection b\naddress h\ninclude_dir conf.d\ntopic #\n";
    assert_eq!(load(text, Compat::V21).0.expect("good").bridges[0].topics.len(), 1);
}
