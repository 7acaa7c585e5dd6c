//! The text of mosquitto.conf: generated from a set-up, or a given one with ports and paths moved.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::ports::free_ports;
use super::{PrepareError, Prepared, PreparedListener, write_private};
use crate::broker::auth::Acl;
use crate::diagnostic::Source;
use crate::scenario::target::FileText;

const PER_LISTENER: &str = "per_listener_settings";

type Conf = (String, Vec<PreparedListener>);

impl Prepared {
    /// A configuration made of the set-up alone.
    pub(super) fn generated(&self) -> Result<Conf, PrepareError> {
        let broker = &self.setup.broker;
        let set = |wanted: &str| broker.settings.iter().any(|(name, ..)| name == wanted);
        let mut text = String::from("# Made by mqttlab for one case.\n");
        for (name, value, _) in broker.settings.iter().filter(|(name, ..)| name == PER_LISTENER) {
            let _ = writeln!(text, "{name} {value}");
        }
        text += "log_dest stderr\nlog_timestamp false\n";
        text += user_line("");
        let security = self.security();
        let per_listener =
            broker.settings.iter().any(|(name, value, _)| name == PER_LISTENER && value == "true");
        if !per_listener {
            text += &security;
        }
        for (name, value, _) in broker.settings.iter().filter(|(name, ..)| name != PER_LISTENER) {
            let _ = writeln!(text, "{name} {value}");
        }
        if set("persistence") && !set("persistence_location") {
            let _ = writeln!(text, "persistence_location {}/", self.folder().display());
        }
        let listeners = self.write_listeners(&mut text, if per_listener { &security } else { "" })?;
        for bridge in &broker.bridges {
            let _ = writeln!(text, "connection {}", bridge.name);
            for (name, value, _) in &bridge.settings {
                let _ = writeln!(text, "{name} {value}");
            }
        }
        Ok((text, listeners))
    }

    /// Who may come in and what it may do.
    fn security(&self) -> String {
        let broker = &self.setup.broker;
        let anonymous =
            broker.allow_anonymous.unwrap_or(broker.users.is_empty() && broker.password_file.is_none());
        let mut text = format!("allow_anonymous {anonymous}\n");
        for (option, path) in
            [("password_file", &self.config.password_file), ("acl_file", &self.config.acl_file)]
        {
            if let Some(path) = path {
                let _ = writeln!(text, "{option} {}", path.display());
            }
        }
        text
    }

    fn write_listeners(
        &self,
        text: &mut String,
        security: &str,
    ) -> Result<Vec<PreparedListener>, PrepareError> {
        let specs = &self.setup.broker.listeners;
        let ports = free_ports(specs.len().max(1))?;
        if specs.is_empty() {
            let _ = writeln!(text, "listener {} 127.0.0.1\n{security}", ports[0]);
            return Ok(vec![PreparedListener {
                name: String::new(),
                port: ports[0],
                tls: false,
                websockets: false,
            }]);
        }
        let mut listeners = Vec::with_capacity(specs.len());
        for (spec, port) in specs.iter().zip(ports) {
            let _ = writeln!(text, "listener {port} 127.0.0.1\n{security}");
            if spec.websockets {
                text.push_str("protocol websockets\n");
            }
            if let Some(name) = &spec.cert {
                for (option, what) in [("certfile", "cert"), ("keyfile", "key")] {
                    let path = self.certificate_path(name, what).ok_or_else(|| {
                        PrepareError::Missing(format!(
                            "listener {}: there is no certificate {name}",
                            spec.name
                        ))
                    })?;
                    let _ = writeln!(text, "{option} {}", path.display());
                }
            }
            for (name, value, _) in &spec.settings {
                let _ = writeln!(text, "{name} {value}");
            }
            listeners.push(PreparedListener {
                name: spec.name.clone(),
                port,
                tls: spec.cert.is_some(),
                websockets: spec.websockets,
            });
        }
        Ok(listeners)
    }

    /// A given configuration: its ports and paths are moved into this run, nothing else.
    pub(super) fn moved(&mut self, file: &FileText) -> Result<Conf, PrepareError> {
        let mut mover = Mover { text: String::new(), listeners: Vec::new(), anonymous: None, passwords: 0 };
        for path in std::mem::take(&mut self.config.extra) {
            fs::remove_file(path)?;
        }
        for line in file.text.lines() {
            self.move_line(file, line, &mut mover)?;
        }
        let Mover { mut text, mut listeners, anonymous, passwords } = mover;
        if passwords == 0 {
            if let Some(path) = &self.config.password_file {
                let _ = writeln!(text, "password_file {}", path.display());
            } else if anonymous != Some(true) && !listeners.is_empty() {
                // Nobody could come in, and with this file nobody else can.
                let path = self.extra_file("passwd", &self.password_text(Some("")))?;
                let _ = writeln!(text, "password_file {}", path.display());
            }
        }
        if listeners.is_empty() {
            // mosquitto would listen on 1883 for this host only, and let everybody in.
            let port = free_ports(1)?[0];
            if anonymous.is_none() {
                text.push_str("allow_anonymous true\n");
            }
            let _ = writeln!(text, "listener {port} 127.0.0.1");
            listeners.push(PreparedListener { name: String::new(), port, tls: false, websockets: false });
        }
        text += user_line(&file.text);
        for (listener, spec) in listeners.iter_mut().zip(&self.setup.broker.listeners) {
            listener.name.clone_from(&spec.name);
        }
        Ok((text, listeners))
    }

    fn move_line(&mut self, file: &FileText, line: &str, to: &mut Mover) -> Result<(), PrepareError> {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        let value = value.trim();
        let moved = match name {
            "listener" | "port" => {
                let port = free_ports(1)?[0];
                to.listeners.push(PreparedListener {
                    name: String::new(),
                    port,
                    tls: false,
                    websockets: false,
                });
                if name == "port" { port.to_string() } else { format!("{port} 127.0.0.1") }
            }
            "bind_address" => "127.0.0.1".to_owned(),
            "certfile" | "keyfile" | "cafile" | "capath" | "crlfile" | "http_dir" | "include_dir"
            | "psk_file" => {
                if let (Some(listener), "certfile") = (to.listeners.last_mut(), name) {
                    listener.tls = true;
                }
                beside(file, value).display().to_string()
            }
            "protocol" => {
                if let Some(listener) = to.listeners.last_mut() {
                    listener.websockets = value == "websockets";
                }
                value.to_owned()
            }
            "password_file" => {
                to.passwords += 1;
                self.moved_passwords(file, value)?.display().to_string()
            }
            "acl_file" => self.moved_acl(file, value)?.display().to_string(),
            "user" if rustix::process::geteuid().is_root() => "root".to_owned(),
            "persistence_location" => format!("{}/", self.folder().display()),
            "pid_file" => self.folder().join("mosquitto.pid").display().to_string(),
            "log_dest" if value != "topic" => "stderr".to_owned(),
            "allow_anonymous" => {
                to.anonymous = Some(value.starts_with("true") || value.starts_with('1'));
                value.to_owned()
            }
            _ => {
                to.text.push_str(line);
                to.text.push('\n');
                return Ok(());
            }
        };
        let _ = writeln!(to.text, "{name} {moved}");
        Ok(())
    }

    fn moved_passwords(&mut self, conf: &FileText, value: &str) -> Result<PathBuf, PrepareError> {
        if let Some(path) = &self.config.password_file {
            return Ok(path.clone());
        }
        let text = self.password_text(Some(&read_beside(conf, value)?));
        self.extra_file("passwd", &text)
    }

    fn moved_acl(&mut self, conf: &FileText, value: &str) -> Result<PathBuf, PrepareError> {
        if let Some(path) = &self.config.acl_file {
            return Ok(path.clone());
        }
        let text = read_beside(conf, value)?;
        self.acl = Acl::parse(&Source::new(value, text.as_str())).ok();
        let text = self.acl_text(&text, &[]);
        self.extra_file("acl", &text)
    }

    fn extra_file(&mut self, stem: &str, text: &str) -> Result<PathBuf, PrepareError> {
        let path = self.folder().join(format!("{stem}-{}", self.config.extra.len()));
        write_private(&path, text)?;
        self.config.extra.push(path.clone());
        Ok(path)
    }
}

struct Mover {
    text: String,
    listeners: Vec<PreparedListener>,
    anonymous: Option<bool>,
    passwords: usize,
}

/// Started as root, mosquitto becomes the user `mosquitto`, who cannot look into a folder that is
/// its maker's alone; and to open that folder to others would show them keys and passwords. So a
/// broker that root starts stays root. It listens on loopback only and lives for one case.
fn user_line(conf: &str) -> &'static str {
    let named = conf.lines().any(|line| line.starts_with("user "));
    if !named && rustix::process::geteuid().is_root() { "user root\n" } else { "" }
}

/// A file that a configuration names: as it stands, else beside the configuration (a student's
/// files say `/etc/mosquitto/acl` and are handed in in one folder).
fn beside(conf: &FileText, value: &str) -> PathBuf {
    let path = Path::new(value);
    let folder = Path::new(&conf.path).parent().unwrap_or(Path::new(""));
    let near = path.file_name().map(|name| folder.join(name));
    let found = [Some(folder.join(path)), near].into_iter().flatten().find(|path| path.exists());
    let found = found.unwrap_or_else(|| path.to_owned());
    std::path::absolute(&found).unwrap_or(found)
}

fn read_beside(conf: &FileText, value: &str) -> Result<String, PrepareError> {
    let path = beside(conf, value);
    fs::read_to_string(&path).map_err(|error| {
        PrepareError::Missing(format!("{} names {value}, which cannot be read: {error}", conf.path))
    })
}
