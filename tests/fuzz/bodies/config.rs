//! Any text as mosquitto.conf, with a file that it may include: it is read or it is refused with
//! places that lie in it.

use std::io;
use std::path::{Path, PathBuf};

use mqttlab::broker::config::{Compat, Config, ConfigFiles, Overrides};

struct Texts<'a>(&'a str);

impl ConfigFiles for Texts<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("mosquitto.conf") => Ok(self.0.to_owned()),
            Some("conf.d/a.conf") => Ok("max_keepalive 60\nlistener 1884\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec!["conf.d/a.conf".into()])
    }
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for compat in [Compat::V20, Compat::V21] {
        let overrides = Overrides { compat: Some(compat), ..Overrides::default() };
        let path = Path::new("mosquitto.conf");
        let (config, found) = Config::load(&Texts(&text), Some(path), &overrides);
        assert!(config.is_some() || found.iter().any(mqttlab::diagnostic::Diagnostic::is_error));
        for one in &found {
            assert!(!one.render(false).is_empty());
        }
        if let Some(mut config) = config {
            assert!(!config.listeners.is_empty());
            let old = config.clone();
            assert!(!config.keep_listeners(&old), "nothing differs from itself");
        }
    }
}
