//! Whether CONNACK is honest about the session (3.2.2.2; 3.2.2.1.1 in 5.0).

use super::CheckSpec;
use super::look::{Prior, breach};
use super::statements::Standard::{V5, V311};
use crate::mqtt::ReasonCode;

/// Seconds after which a broker may have given a session up for reasons of its own.
const PATIENCE: f64 = 60.0;

pub(super) const SESSION_ENDED: CheckSpec = CheckSpec {
    name: "broker-session-ended",
    doc: "A session that began with Clean Session 1 is not there for the next connection.",
    example: "> CONNECT clean client=a\n< CONNACK 0\n> DISCONNECT\n> CONNECT client=a\n< CONNACK 0 session_present",
    cites: &[(V311, "MQTT-3.1.2-6"), (V311, "MQTT-3.2.2-3")],
    look: |look| {
        let (connect, answer) = look.first_answer()?;
        let broken = answer.session_present && !connect.clean_start && look.prior == Prior::Gone;
        breach(
            broken,
            "CONNACK says that a session is present, though the last one ended with its connection",
        )
    },
    ..CheckSpec::BROKER
};

pub(super) const SESSION_KEPT: CheckSpec = CheckSpec {
    name: "broker-session-kept",
    doc: "A session that is to outlive its connection is there for the next one. \
          Looked at for a minute, or for as long as the session has to last.",
    example: "> CONNECT client=a\n< CONNACK 0\n> DISCONNECT\n> CONNECT client=a\n< CONNACK 0",
    cites: &[
        (V311, "MQTT-3.1.2-4"),
        (V311, "MQTT-3.2.2-2"),
        (V311, "MQTT-4.1.0-1"),
        (V5, "MQTT-3.1.2-5"),
        (V5, "MQTT-3.1.2-23"),
        (V5, "MQTT-3.2.2-3"),
        (V5, "MQTT-4.1.0-1"),
    ],
    look: |look| {
        let (connect, answer) = look.first_answer()?;
        let Prior::Kept { secs, since } = look.prior else { return None };
        let still = look.at - since < PATIENCE.min(secs);
        let accepted = answer.code == ReasonCode::SUCCESS && !answer.session_present;
        breach(
            accepted && !connect.clean_start && still,
            "CONNACK says that no session is present, though the last one was to outlive its connection",
        )
    },
    ..CheckSpec::BROKER
};
