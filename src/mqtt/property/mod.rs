//! Properties (2.2.2 of MQTT 5.0): an ordered list, as they travel.
//!
//! A list and not a struct of options: order is kept `[MQTT-3.3.2-18]`, repeats can be held (a
//! broker under test may send them, a scenario may want to), and an empty list costs nothing.
//! Which property may stand where, how often, and with which values is the codec's business.

mod spec;

use bytes::Bytes;
use bytestring::ByteString;

pub use spec::{Make, PROPERTIES, PropertySpec, Value};

/// One property with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's names say it; see PROPERTIES")]
pub enum Property {
    PayloadFormatIndicator(u8),
    MessageExpiryInterval(u32),
    ContentType(ByteString),
    ResponseTopic(ByteString),
    CorrelationData(Bytes),
    SubscriptionIdentifier(u32),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(ByteString),
    ServerKeepAlive(u16),
    AuthenticationMethod(ByteString),
    AuthenticationData(Bytes),
    RequestProblemInformation(u8),
    WillDelayInterval(u32),
    RequestResponseInformation(u8),
    ResponseInformation(ByteString),
    ServerReference(ByteString),
    ReasonString(ByteString),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQoS(u8),
    RetainAvailable(u8),
    UserProperty(ByteString, ByteString),
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(u8),
    SubscriptionIdentifierAvailable(u8),
    SharedSubscriptionAvailable(u8),
}

/// The properties of one packet or will, in wire order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties(Vec<Property>);

/// Defines a getter for the first property of a kind whose value is `Copy`.
macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident: $variant:ident -> $type:ty;)*) => {
        impl Properties {
            $($(#[$doc])*
            pub fn $name(&self) -> Option<$type> {
                self.0.iter().find_map(|p| match p {
                    Property::$variant(value) => Some(value.clone()),
                    _ => None,
                })
            })*
        }
    };
}

getters! {
    /// Seconds that the session outlives the connection; `u32::MAX` is for ever.
    session_expiry_interval: SessionExpiryInterval -> u32;
    /// Unacknowledged QoS 1 and 2 publications that the sender of this property takes.
    receive_maximum: ReceiveMaximum -> u16;
    /// Bytes of the largest packet that the sender of this property takes.
    maximum_packet_size: MaximumPacketSize -> u32;
    /// Highest topic alias that the sender of this property takes.
    topic_alias_maximum: TopicAliasMaximum -> u16;
    /// The alias in a PUBLISH.
    topic_alias: TopicAlias -> u16;
    /// 1 asks for response information in CONNACK.
    request_response_information: RequestResponseInformation -> u8;
    /// 0 forbids reason strings and user properties in most packets.
    request_problem_information: RequestProblemInformation -> u8;
    /// Name of the enhanced authentication method.
    authentication_method: AuthenticationMethod -> ByteString;
    /// Data of the enhanced authentication method.
    authentication_data: AuthenticationData -> Bytes;
    /// Seconds between the end of the connection and the will.
    will_delay_interval: WillDelayInterval -> u32;
    /// Seconds that a publication lives.
    message_expiry_interval: MessageExpiryInterval -> u32;
    /// 1 when the payload is UTF-8.
    payload_format_indicator: PayloadFormatIndicator -> u8;
    /// MIME type of the payload.
    content_type: ContentType -> ByteString;
    /// Where an answer is expected.
    response_topic: ResponseTopic -> ByteString;
    /// What ties an answer to its request.
    correlation_data: CorrelationData -> Bytes;
    /// The (first) subscription identifier.
    subscription_identifier: SubscriptionIdentifier -> u32;
    /// The keep-alive that the server imposes, seconds.
    server_keep_alive: ServerKeepAlive -> u16;
    /// The identifier that the server gave the client.
    assigned_client_identifier: AssignedClientIdentifier -> ByteString;
    /// Why, for people.
    reason_string: ReasonString -> ByteString;
    /// The most that the server takes.
    maximum_qos: MaximumQoS -> u8;
    /// 0 when the server has no retained messages.
    retain_available: RetainAvailable -> u8;
}

impl Properties {
    /// No properties.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends one.
    pub fn push(&mut self, property: Property) {
        self.0.push(property);
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// In wire order.
    pub fn iter(&self) -> std::slice::Iter<'_, Property> {
        self.0.iter()
    }

    /// Keeps those that `keep` accepts, in order.
    pub fn retain(&mut self, keep: impl FnMut(&Property) -> bool) {
        self.0.retain(keep);
    }
}

impl From<Vec<Property>> for Properties {
    fn from(list: Vec<Property>) -> Self {
        Self(list)
    }
}

impl FromIterator<Property> for Properties {
    fn from_iter<I: IntoIterator<Item = Property>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Properties {
    type Item = &'a Property;
    type IntoIter = std::slice::Iter<'a, Property>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
