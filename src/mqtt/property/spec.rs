//! What the standard says about each property, as one table (2.2.2.2 of MQTT 5.0).
//!
//! Reader, writer, notation and `mqttlab explain` walk the same rows. A row says where a property
//! may stand and how its value travels; which values are allowed is checked by the codec.

use bytes::Bytes;
use bytestring::ByteString;

use super::Property;
use crate::mqtt::packet::PacketType;

/// One property of the standard.
#[derive(Debug)]
pub struct PropertySpec {
    /// The identifier byte.
    pub id: u8,
    /// Its name in a packet line.
    pub name: &'static str,
    /// Its name in a packet line when it belongs to the will of a CONNECT.
    pub will_name: &'static str,
    /// Its name in a packet line that puts it where it may not stand.
    pub forced_name: &'static str,
    /// The standard's name in `snake_case`, which packet lines take too.
    pub long_name: &'static str,
    /// How its value travels, and how it is made from one.
    pub make: Make,
    /// The packets that may carry it.
    pub packets: &'static [PacketType],
    /// Whether a will may carry it.
    pub in_will: bool,
    /// What it says.
    pub doc: &'static str,
    /// A value, as a packet line has it.
    pub example: &'static str,
}

/// How the value of a property travels; the function makes the property from its value.
#[derive(Debug, Clone, Copy)]
pub enum Make {
    /// One byte.
    Byte(fn(u8) -> Property),
    /// Two bytes, big-endian.
    TwoByte(fn(u16) -> Property),
    /// Four bytes, big-endian.
    FourByte(fn(u32) -> Property),
    /// A variable byte integer.
    Variable(fn(u32) -> Property),
    /// A UTF-8 string.
    Text(fn(ByteString) -> Property),
    /// Binary data.
    Binary(fn(Bytes) -> Property),
    /// Two UTF-8 strings: name and value.
    Pair(fn(ByteString, ByteString) -> Property),
}

/// The value of a property, by the way it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in Make")]
pub enum Value<'a> {
    Byte(u8),
    TwoByte(u16),
    FourByte(u32),
    Variable(u32),
    Text(&'a ByteString),
    Binary(&'a Bytes),
    Pair(&'a ByteString, &'a ByteString),
}

impl PropertySpec {
    /// The row of a property identifier.
    pub fn of_id(id: u8) -> Option<&'static Self> {
        PROPERTIES.binary_search_by_key(&id, |spec| spec.id).ok().map(|at| &PROPERTIES[at])
    }

    /// True for those that may stand more than once: User Property anywhere, Subscription
    /// Identifier in a PUBLISH.
    pub fn repeats_in(&self, packet: PacketType) -> bool {
        matches!(self.make, Make::Pair(_)) || (self.id == 0x0B && packet == PacketType::Publish)
    }
}

macro_rules! properties {
    ($($id:literal $variant:ident $make:ident $name:literal $long:literal [$($packet:ident)*] $will:literal $doc:literal $example:literal;)*) => {
        /// All properties, by identifier.
        pub const PROPERTIES: &[PropertySpec] = &[$(PropertySpec {
            id: $id,
            name: $name,
            will_name: concat!("will.", $name),
            forced_name: concat!("force.", $name),
            long_name: $long,
            make: Make::$make(Property::$variant),
            packets: &[$(PacketType::$packet),*],
            in_will: $will,
            doc: $doc,
            example: $example,
        }),*];

        impl Property {
            /// The identifier byte.
            pub const fn id(&self) -> u8 {
                match self {
                    $(Self::$variant(..) => $id),*
                }
            }
        }
    };
}

properties! {
    0x01 PayloadFormatIndicator Byte "payload_format" "payload_format_indicator" [Publish] true
        "1 when the payload is UTF-8" "1";
    0x02 MessageExpiryInterval FourByte "message_expiry" "message_expiry_interval" [Publish] true
        "seconds that the message lives" "60";
    0x03 ContentType Text "content_type" "content_type" [Publish] true
        "MIME type of the payload" "text/plain";
    0x08 ResponseTopic Text "response_topic" "response_topic" [Publish] true
        "where an answer is expected" "answers/1";
    0x09 CorrelationData Binary "correlation_data" "correlation_data" [Publish] true
        "ties an answer to its request" "hex:00ff";
    0x0B SubscriptionIdentifier Variable "subscription_id" "subscription_identifier" [Publish Subscribe] false
        "marks the subscription that a message came by" "7";
    0x11 SessionExpiryInterval FourByte "session_expiry" "session_expiry_interval" [Connect ConnAck Disconnect] false
        "seconds that the session outlives the connection; 4294967295 is for ever" "3600";
    0x12 AssignedClientIdentifier Text "assigned_client_id" "assigned_client_identifier" [ConnAck] false
        "the identifier that the server gave the client" "auto-1";
    0x13 ServerKeepAlive TwoByte "server_keepalive" "server_keep_alive" [ConnAck] false
        "the keep-alive that the server imposes, seconds" "60";
    0x15 AuthenticationMethod Text "method" "authentication_method" [Connect ConnAck Auth] false
        "name of the enhanced authentication method" "SCRAM-SHA-1";
    0x16 AuthenticationData Binary "data" "authentication_data" [Connect ConnAck Auth] false
        "data of the enhanced authentication method" "hex:00ff";
    0x17 RequestProblemInformation Byte "request_problem_info" "request_problem_information" [Connect] false
        "0 forbids reason strings and user properties in most packets" "0";
    0x18 WillDelayInterval FourByte "delay" "will_delay_interval" [] true
        "seconds between the end of the connection and the will" "5";
    0x19 RequestResponseInformation Byte "request_response_info" "request_response_information" [Connect] false
        "1 asks for response information in CONNACK" "1";
    0x1A ResponseInformation Text "response_info" "response_information" [ConnAck] false
        "a base for response topics" "answers/";
    0x1C ServerReference Text "server_reference" "server_reference" [ConnAck Disconnect] false
        "another server to use" "broker2:1883";
    0x1F ReasonString Text "reason_string" "reason_string"
        [ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth] false
        "why, for people" "\"not today\"";
    0x21 ReceiveMaximum TwoByte "receive_maximum" "receive_maximum" [Connect ConnAck] false
        "unacknowledged QoS 1 and 2 messages that the sender of this takes" "20";
    0x22 TopicAliasMaximum TwoByte "topic_alias_maximum" "topic_alias_maximum" [Connect ConnAck] false
        "highest topic alias that the sender of this takes" "10";
    0x23 TopicAlias TwoByte "topic_alias" "topic_alias" [Publish] false
        "a number that stands for the topic from now on" "1";
    0x24 MaximumQoS Byte "maximum_qos" "maximum_qos" [ConnAck] false
        "the highest QoS that the server takes, when it is not 2" "1";
    0x25 RetainAvailable Byte "retain_available" "retain_available" [ConnAck] false
        "0 when the server has no retained messages" "0";
    0x26 UserProperty Pair "user_property" "user_property"
        [Connect ConnAck Publish PubAck PubRec PubRel PubComp Subscribe SubAck Unsubscribe UnsubAck Disconnect Auth] true
        "a name and a value of the application, written user.NAME=VALUE" "blue";
    0x27 MaximumPacketSize FourByte "maximum_packet_size" "maximum_packet_size" [Connect ConnAck] false
        "bytes of the largest packet that the sender of this takes" "1024";
    0x28 WildcardSubscriptionAvailable Byte "wildcard_available" "wildcard_subscription_available" [ConnAck] false
        "0 when the server has no wildcard subscriptions" "0";
    0x29 SubscriptionIdentifierAvailable Byte "subscription_id_available" "subscription_identifier_available" [ConnAck] false
        "0 when the server has no subscription identifiers" "0";
    0x2A SharedSubscriptionAvailable Byte "shared_available" "shared_subscription_available" [ConnAck] false
        "0 when the server has no shared subscriptions" "0";
}

impl Property {
    /// The row of the table that this property belongs to.
    pub fn spec(&self) -> &'static PropertySpec {
        PropertySpec::of_id(self.id()).expect("the table has a row for every variant")
    }

    /// The value, by the way it travels.
    pub const fn value(&self) -> Value<'_> {
        match self {
            Self::PayloadFormatIndicator(v)
            | Self::RequestProblemInformation(v)
            | Self::RequestResponseInformation(v)
            | Self::MaximumQoS(v)
            | Self::RetainAvailable(v)
            | Self::WildcardSubscriptionAvailable(v)
            | Self::SubscriptionIdentifierAvailable(v)
            | Self::SharedSubscriptionAvailable(v) => Value::Byte(*v),
            Self::ServerKeepAlive(v)
            | Self::ReceiveMaximum(v)
            | Self::TopicAliasMaximum(v)
            | Self::TopicAlias(v) => Value::TwoByte(*v),
            Self::MessageExpiryInterval(v)
            | Self::SessionExpiryInterval(v)
            | Self::WillDelayInterval(v)
            | Self::MaximumPacketSize(v) => Value::FourByte(*v),
            Self::SubscriptionIdentifier(v) => Value::Variable(*v),
            Self::ContentType(v)
            | Self::ResponseTopic(v)
            | Self::AssignedClientIdentifier(v)
            | Self::AuthenticationMethod(v)
            | Self::ResponseInformation(v)
            | Self::ServerReference(v)
            | Self::ReasonString(v) => Value::Text(v),
            Self::CorrelationData(v) | Self::AuthenticationData(v) => Value::Binary(v),
            Self::UserProperty(name, value) => Value::Pair(name, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_agree_with_the_values() {
        assert_eq!(PROPERTIES.len(), 27);
        assert!(PROPERTIES.is_sorted_by(|a, b| a.id < b.id));
        let empty = &ByteString::from_static("");
        let nothing = &Bytes::new();
        for spec in PROPERTIES {
            let (property, same) = match spec.make {
                Make::Byte(make) => (make(1), Value::Byte(1)),
                Make::TwoByte(make) => (make(1), Value::TwoByte(1)),
                Make::FourByte(make) => (make(1), Value::FourByte(1)),
                Make::Variable(make) => (make(1), Value::Variable(1)),
                Make::Text(make) => (make("".into()), Value::Text(empty)),
                Make::Binary(make) => (make(Bytes::new()), Value::Binary(nothing)),
                Make::Pair(make) => (make("".into(), "".into()), Value::Pair(empty, empty)),
            };
            assert_eq!(property.id(), spec.id);
            assert_eq!(property.value(), same, "{}", spec.name);
            assert!(spec.in_will || !spec.packets.is_empty());
        }
    }
}
