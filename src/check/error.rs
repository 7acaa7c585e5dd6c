//! The form of packets: what the codec cannot read, sorted by rule (2.2, 1.5 and 2.2.2 of 5.0).
//!
//! A check of this file stays silent where the revision is not certain: before a CONNECT, and after a
//! second one. MQTT 3.1 has no statements and is not judged.

use super::look::{Breach, Look};
use super::statements::Standard::{self, V5, V311};
use super::{CheckSpec, Party};
use crate::mqtt::ProtocolVersion;
use crate::mqtt::codec::DecodeErrorKind as Kind;
use crate::mqtt::packet::PacketType;

/// Says what the codec found, if it is of one of these kinds.
fn found(look: &Look<'_>, kinds: &[Kind], cites: &[(Standard, &'static str)]) -> Option<Breach> {
    let error = look.seen.err()?;
    let certain = match look.from {
        // The decoder of the broker's packets must have been told the right revision.
        Party::Broker => look.conn.connects == 1 && error.version == look.conn.version(),
        Party::Client => error.version == Some(look.version),
    };
    // Answers that are not of the client's revision cannot be judged by it.
    let foreign = look.from == Party::Broker
        && error.packet == Some(PacketType::ConnAck)
        && look.conn.side(Party::Client).broke;
    if !kinds.contains(&error.kind) || !certain || foreign || look.version == ProtocolVersion::V31 {
        return None;
    }
    let standard = Standard::of(look.version);
    let statement = error.statement.map(sender_rule);
    let own = cites.iter().find(|(of, id)| *of == standard && Some(*id) == statement).map(|(_, id)| *id);
    let detail = error.detail.split(" [").next().unwrap_or_default();
    let name = error.packet.map_or("packet", PacketType::name);
    Some(Breach::of(own, format!("malformed {name}: {detail}")))
}

/// The statement about the sender, where the codec names the one about the receiver.
fn sender_rule(statement: &'static str) -> &'static str {
    match statement {
        "MQTT-2.2.2-2" => "MQTT-2.2.2-1",
        other => other,
    }
}

macro_rules! form_checks {
    ($($konst:ident $binds:ident $name:literal $doc:literal $example:literal [$($kind:ident)*]
       [$($old:literal)*] [$($new:literal)*];)*) => {
        $(pub(super) const $konst: CheckSpec = CheckSpec {
            name: $name,
            doc: $doc,
            example: $example,
            cites: &[$((V311, $old),)* $((V5, $new),)*],
            always: true,
            look: |look| found(look, &[$(Kind::$kind),*], $konst.cites),
            ..CheckSpec::$binds
        };)*
        /// All checks of this file.
        #[cfg(test)]
        const ALL: &[&CheckSpec] = &[$(&$konst),*];
        #[cfg(test)]
        const KINDS: &[(Party, Kind)] = &[$($((CheckSpec::$binds.binds, Kind::$kind)),*),*];
    };
}

form_checks! {
    CLIENT_FLAGS CLIENT "client-flags"
        "The flags of a client's fixed headers are those that the packet type demands."
        "> PINGREQ flags=1" [BadFlags]
        ["MQTT-2.2.2-1" "MQTT-3.3.1-2" "MQTT-3.3.1-4" "MQTT-3.6.1-1" "MQTT-3.8.1-1" "MQTT-3.10.1-1" "MQTT-3.14.1-1"]
        ["MQTT-2.1.3-1" "U5-2.1.3-1" "MQTT-3.3.1-2" "MQTT-3.3.1-4" "U5-3.3.1-1" "MQTT-4.3.1-1" "MQTT-3.6.1-1"
            "MQTT-3.8.1-1" "MQTT-3.10.1-1" "MQTT-3.14.1-1" "MQTT-3.15.1-1"];
    BROKER_FLAGS BROKER "broker-flags"
        "The flags of a broker's fixed headers are those that the packet type demands, and CONNACK has no other than Session Present."
        "< PINGRESP flags=1" [BadFlags]
        ["MQTT-2.2.2-1" "MQTT-3.3.1-2" "MQTT-3.3.1-4" "MQTT-3.6.1-1" "MQTT-4.3.1-1"]
        ["MQTT-2.1.3-1" "U5-2.1.3-1" "MQTT-3.2.2-1" "MQTT-3.3.1-2" "MQTT-3.3.1-4" "U5-3.3.1-1" "MQTT-4.3.1-1"
            "MQTT-3.6.1-1" "MQTT-3.14.1-1" "MQTT-3.15.1-1"];
    CLIENT_TYPE CLIENT "client-packet-type"
        "A client sends no packet of a reserved type."
        "> hex 00 00" [ReservedType]
        ["U311-2.2.1-1"]
        ["U5-2.1.2-1"];
    BROKER_TYPE BROKER "broker-packet-type"
        "A broker sends no packet of a reserved type."
        "< hex 00 00" [ReservedType]
        ["U311-2.2.1-1"]
        ["U5-2.1.2-1"];
    CLIENT_LENGTH CLIENT "client-length"
        "Lengths that a client sends take at most four bytes, in 5.0 no more than they need, and packets end where their fields do."
        "> hex c0 ff ff ff ff 01" [BadLength Truncated TrailingBytes]
        ["U311-2.2.3-1" "U311-3.1.3-1"]
        ["MQTT-1.5.5-1" "U5-1.5.5-1" "MQTT-2.2.2-1"];
    BROKER_LENGTH BROKER "broker-length"
        "Lengths that a broker sends take at most four bytes, in 5.0 no more than they need, and packets end where their fields do."
        "< hex d0 ff ff ff ff 01" [BadLength Truncated TrailingBytes]
        ["U311-2.2.3-1" "U311-3.1.3-1"]
        ["MQTT-1.5.5-1" "U5-1.5.5-1" "MQTT-2.2.2-1"];
    CLIENT_STRING CLIENT "client-string"
        "Strings of a client are UTF-8 without surrogates and U+0000."
        "> hex 30 05 00 02 61 00 78" [BadString]
        ["MQTT-1.5.3-1" "MQTT-1.5.3-2" "MQTT-3.1.3-4" "MQTT-3.1.3-10" "MQTT-3.1.3-11" "MQTT-3.3.2-1"
            "MQTT-3.8.3-1" "MQTT-3.10.3-1"]
        ["MQTT-1.5.4-1" "MQTT-1.5.4-2" "U5-1.5.4-1" "MQTT-1.5.7-1" "U5-1.5.7-1" "MQTT-3.1.3-4" "MQTT-3.1.3-11"
            "MQTT-3.1.3-12" "MQTT-3.3.2-1" "MQTT-3.3.2-13" "MQTT-3.3.2-19" "MQTT-3.8.3-1" "MQTT-3.10.3-1"];
    BROKER_STRING BROKER "broker-string"
        "Strings of a broker are UTF-8 without surrogates and U+0000."
        "< hex 30 05 00 02 61 00 78" [BadString]
        ["MQTT-1.5.3-1" "MQTT-1.5.3-2" "MQTT-3.3.2-1"]
        ["MQTT-1.5.4-1" "MQTT-1.5.4-2" "U5-1.5.4-1" "MQTT-1.5.7-1" "U5-1.5.7-1" "MQTT-3.3.2-1" "MQTT-3.3.2-13"
            "MQTT-3.3.2-19"];
    CLIENT_ZERO_ID CLIENT "client-packet-id"
        "Packet identifiers of a client are not zero."
        "> PUBLISH a \"x\" qos=1 id=0" [ZeroPacketId]
        ["MQTT-2.3.1-1"]
        ["MQTT-2.2.1-3"];
    BROKER_ZERO_ID BROKER "broker-packet-id"
        "Packet identifiers of a broker are not zero."
        "< PUBLISH a \"x\" qos=1 id=0" [ZeroPacketId]
        ["MQTT-2.3.1-1"]
        ["MQTT-2.2.1-4"];
    CLIENT_TOPIC CLIENT "client-topic"
        "Topics that a client publishes to have no wildcards and are not empty, and its filters have their wildcards where they may stand."
        "> PUBLISH a/# \"x\"" [BadTopic NoTopic]
        ["MQTT-3.3.2-2" "MQTT-4.7.1-1" "MQTT-4.7.1-2" "MQTT-4.7.1-3" "MQTT-4.7.3-1" "MQTT-4.7.3-2"]
        ["MQTT-3.3.2-2" "U5-3.3.2-1" "MQTT-4.7.0-1" "MQTT-4.7.1-1" "MQTT-4.7.1-2" "MQTT-4.7.3-1" "MQTT-4.7.3-2"
            "MQTT-4.8.2-1" "MQTT-4.8.2-2"];
    BROKER_TOPIC BROKER "broker-topic"
        "Topics that a broker publishes to have no wildcards, and are not empty unless an alias stands in for them."
        "< PUBLISH a/# \"x\"" [BadTopic NoTopic]
        ["MQTT-3.3.2-2" "MQTT-4.7.1-1" "MQTT-4.7.3-1" "MQTT-4.7.3-2"]
        ["MQTT-3.3.2-2" "U5-3.3.2-1" "MQTT-4.7.0-1" "MQTT-4.7.3-1" "MQTT-4.7.3-2"];
    CLIENT_PROPERTY CLIENT "client-property"
        "A client's properties stand where they may, as often as they may, with values that they may have."
        "> PUBLISH a \"x\" topic_alias=0" [UnknownProperty MisplacedProperty DuplicateProperty BadProperty MissingProperty BadTopicAlias]
        []
        ["U5-2.2.2-1" "U5-3.1.2-3" "U5-3.1.2-4" "U5-3.1.2-5" "U5-3.1.2-7" "U5-3.1.2-8" "U5-3.1.2-9" "U5-3.1.2-11"
            "U5-3.1.2-12" "U5-3.1.3-1" "MQTT-3.3.2-8" "MQTT-3.3.2-14" "U5-3.3.2-2" "U5-3.3.2-3" "U5-3.3.2-5" "U5-3.4.2-2"
            "U5-3.8.2-1" "U5-3.14.2-2" "U5-3.14.2-4" "U5-3.15.2-1"];
    BROKER_PROPERTY BROKER "broker-property"
        "A broker's properties stand where they may, as often as they may, with values that they may have."
        "< CONNACK 0 receive_maximum=0" [UnknownProperty MisplacedProperty DuplicateProperty BadProperty MissingProperty BadTopicAlias]
        []
        ["U5-2.2.2-1" "U5-3.2.2-1" "MQTT-3.3.2-8" "MQTT-3.3.2-14" "U5-3.3.2-2" "U5-3.3.2-3" "U5-3.3.2-5" "U5-3.4.2-2"
            "U5-3.14.2-4" "U5-3.15.2-1"];
    CLIENT_REASON CLIENT "client-reason"
        "A client's reason codes are of the list of their packet."
        "> PUBACK id=1 0x8d" [BadReasonCode]
        []
        ["MQTT-3.4.2-1" "MQTT-3.5.2-1" "MQTT-3.6.2-1" "MQTT-3.7.2-1" "MQTT-3.14.2-1" "MQTT-3.15.2-1"];
    BROKER_REASON BROKER "broker-reason"
        "A broker's return and reason codes are of the list of their packet."
        "< SUBACK id=1 3" [BadReasonCode]
        ["MQTT-3.2.2-6" "MQTT-3.9.3-2"]
        ["MQTT-3.2.2-8" "MQTT-3.4.2-1" "MQTT-3.5.2-1" "MQTT-3.6.2-1" "MQTT-3.7.2-1" "MQTT-3.9.3-2" "MQTT-3.11.3-2"
            "MQTT-3.14.2-1" "MQTT-3.15.2-1"];
    CLIENT_CONNECT_FLAGS CLIENT "client-connect-flags"
        "The flags of a CONNECT do not contradict each other."
        "> CONNECT clean client=a connect_flags=0x03" [BadConnectFlags]
        ["MQTT-3.1.2-3" "MQTT-3.1.2-11" "MQTT-3.1.2-13" "MQTT-3.1.2-14" "MQTT-3.1.2-15" "MQTT-3.1.2-22"]
        ["MQTT-3.1.2-3" "U5-3.1.2-1" "MQTT-3.1.2-11" "MQTT-3.1.2-12" "U5-3.1.2-2" "MQTT-3.1.2-13"];
    CLIENT_SUBSCRIPTION CLIENT "client-subscription"
        "SUBSCRIBE and UNSUBSCRIBE name at least one filter, and subscription options say nothing that is reserved or forbidden."
        "> SUBSCRIBE a qos=3 id=1" [BadSubscriptionOptions BadSubscriptionValue NoFilters]
        ["MQTT-3.8.3-3" "MQTT-3.8.3-4" "MQTT-3.10.3-2"]
        ["MQTT-3.8.3-2" "U5-3.8.3-1" "U5-3.8.3-2" "U5-3.8.3-3" "MQTT-3.8.3-4" "MQTT-3.8.3-5" "MQTT-3.10.3-2" "U5-3.10.3-1"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_codec_finds_is_watched_for_at_both_ends() {
        // Too large is a matter of the decoder's limits; an unknown revision is none of ours; the
        // first packet has a check of its own.
        let elsewhere = [Kind::TooLarge, Kind::BadProtocolName, Kind::UnsupportedVersion, Kind::NotConnect];
        let clients_only = [
            Kind::BadConnectFlags,
            Kind::BadSubscriptionOptions,
            Kind::BadSubscriptionValue,
            Kind::NoFilters,
        ];
        for kind in Kind::ALL {
            let watched = |party| KINDS.contains(&(party, kind));
            assert_eq!(watched(Party::Client), !elsewhere.contains(&kind), "{kind:?}");
            let both = !elsewhere.contains(&kind) && !clients_only.contains(&kind);
            assert_eq!(watched(Party::Broker), both, "{kind:?}");
        }
        assert!(ALL.iter().all(|check| super::super::find(check.name).is_some()));
    }
}
