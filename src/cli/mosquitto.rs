//! The names under which this program is mosquitto's: started as `mosquitto` or `mosquitto_passwd`,
//! through a link, it takes their command lines and ends with their codes.
//!
//! What the broker and the password tool do is theirs (`broker`, `passwd`); here only arguments are
//! read, as mosquitto reads them: in their order, the first mistake ends it.

use std::ffi::OsString;
use std::path::Path;

use clap::Parser as _;

use super::{Exit, broker, complain, passwd};
use crate::broker::config::Compat;

/// Ports that the command line may name.
const MOST_PORTS: usize = 10;

/// Which of mosquitto's programs a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// `mosquitto`
    Broker,
    /// `mosquitto_passwd`
    Passwd,
}

impl Name {
    /// By the first word of the command line, its folder left out.
    pub fn of(program: &Path) -> Option<Self> {
        match program.file_name()?.to_str()? {
            "mosquitto" => Some(Self::Broker),
            "mosquitto_passwd" => Some(Self::Passwd),
            _ => None,
        }
    }

    /// Obeys the rest of the command line.
    pub fn run(self, arguments: impl Iterator<Item = OsString>) -> anyhow::Result<Exit> {
        match self {
            Self::Broker => match read(arguments) {
                Ok(args) => broker::run(&args),
                Err(exit) => Ok(exit),
            },
            Self::Passwd => Ok(run_passwd(arguments)),
        }
    }
}

/// The broker's arguments, or the code to end with.
fn read(mut arguments: impl Iterator<Item = OsString>) -> Result<broker::Args, Exit> {
    let mut args = broker::Args::as_mosquitto();
    while let Some(argument) = arguments.next() {
        let refused = |sentence: &str| {
            complain(format_args!("Error: {sentence}"));
            Exit::Invalid
        };
        match argument.to_str().unwrap_or_default() {
            "-c" | "--config-file" => {
                let file = arguments.next();
                let file = file.ok_or_else(|| refused("-c argument given, but no config file specified."))?;
                args.config = Some(file.into());
            }
            "-d" | "--daemon" => args.daemon = true,
            "-h" | "--help" => {
                anstream::print!("{}", usage());
                return Err(Exit::Success);
            }
            "--version" => {
                anstream::println!("mosquitto {}", Compat::default().release());
                return Err(Exit::Success);
            }
            "-p" | "--port" => {
                let text = arguments.next();
                let text = text.ok_or_else(|| refused("-p argument given, but no port specified."))?;
                let text = text.to_string_lossy();
                let port = text.parse().ok().filter(|port| *port > 0);
                let port = port.ok_or_else(|| refused(&format!("Invalid port specified ({text}).")))?;
                if args.port.len() == MOST_PORTS {
                    let sentence = format!("Only {MOST_PORTS} ports can be specified on the command line.");
                    return Err(refused(&sentence));
                }
                args.port.push(port);
            }
            "-q" | "--quiet" => args.quiet = true,
            "-v" | "--verbose" => args.verbose = true,
            "--tls-keylog" => {
                let file = arguments.next();
                let sentence = "--tls-keylog argument given, but no file specified.";
                args.tls_keylog = Some(file.ok_or_else(|| refused(sentence))?.into());
            }
            "--test-config" => args.test_config = true,
            "--detached" => args.detached = true,
            _ => {
                let shown = crate::text::escape(&argument.to_string_lossy());
                complain(format_args!("Error: Unknown option '{shown}'.\n{}", usage()));
                return Err(Exit::Invalid);
            }
        }
    }
    Ok(args)
}

fn usage() -> String {
    format!(
        "mosquitto version {}

An MQTT v5.0/v3.1.1/v3.1 broker that behaves like Eclipse Mosquitto; `mqttlab broker` under its name.

Usage: mosquitto [-c config_file] [-d] [-h] [-p port] [-q] [-v] [--test-config]
                 [--tls-keylog file] [--version]

 -c, --config-file : the configuration, in the language of mosquitto.conf(5).
 -d, --daemon      : go on in the background.
 -h, --help        : this text.
 -p, --port        : listen on this port, where the configuration has no listener; up to {MOST_PORTS} times.
 -q, --quiet       : log nothing, whatever the configuration says.
 -v, --verbose     : log everything, whatever the configuration says.
 --test-config     : check the configuration and all files that it names, and end.
 --tls-keylog      : write the secrets of TLS sessions to this file, for Wireshark.
 --version         : the version.

`mqttlab broker --help` says more.
",
        Compat::default().release()
    )
}

#[derive(Debug, clap::Parser)]
#[command(name = "mosquitto_passwd", about)]
struct Passwd {
    #[command(flatten)]
    args: passwd::Args,
}

/// `mosquitto_passwd` shows its usage and ends with 1 where clap would end with 0 or 2.
fn run_passwd(arguments: impl Iterator<Item = OsString>) -> Exit {
    let arguments = std::iter::once(OsString::from("mosquitto_passwd")).chain(arguments);
    match Passwd::try_parse_from(arguments) {
        Ok(Passwd { args }) => passwd::run(&args),
        Err(error) => {
            // There is nobody to tell.
            let _ = error.print();
            Exit::Other(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<broker::Args, Exit> {
        read(words.iter().map(OsString::from))
    }

    #[test]
    fn a_command_line_as_mosquitto_reads_it() {
        let args = of(&["-p", "1", "-v", "--port", "65535", "--config-file", "a", "-c", "b", "-d", "-q"]);
        let args = args.expect("good");
        assert_eq!((args.port, args.config), (vec![1, 65535], Some("b".into())));
        assert!(args.verbose && args.quiet && args.daemon && args.as_mosquitto && !args.test_config);
        let eleven = ["-p", "1"].repeat(11);
        for bad in [
            &["-c"][..],
            &["--tls-keylog"],
            &["-p"],
            &["-p", "0"],
            &["-p", "65536"],
            &["-x"],
            &["file"],
            &eleven,
        ] {
            assert_eq!(of(bad).err(), Some(Exit::Invalid), "{bad:?}");
        }
    }

    #[test]
    fn names_count_without_their_folder() {
        assert_eq!(Name::of(Path::new("/usr/sbin/mosquitto")), Some(Name::Broker));
        assert_eq!(Name::of(Path::new("mosquitto_passwd")), Some(Name::Passwd));
        assert_eq!(Name::of(Path::new("/usr/bin/mqttlab")), None);
    }
}
