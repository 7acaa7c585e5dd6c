//! Who is let in (3.1.3, 3.1.4, 3.2.2): what a CONNECT asks against what its listener and the
//! configuration allow, and under which identifier. Our own half of a bridge has no listener, and
//! options that are about clients do not bind it. Changes nothing; `on_connect` acts on it.

use bytestring::ByteString;

use crate::broker::auth::AuthFailure;
use crate::broker::config::{Config, ListenerConfig, SecurityConfig};
use crate::mqtt::packet::{Connect, Will};
use crate::mqtt::{ProtocolVersion, ReasonCode};

use super::limits::MAX_TOPIC_SEPARATORS;
use super::on_publish::separators;
use super::publication::owned;

/// Why a CONNECT is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Return code before 5.0; `None`: none fits, and the connection is just closed.
    /// 3.1.1: `[MQTT-3.2.2-6]`
    pub v3: Option<ReasonCode>,
    /// Reason code of 5.0. No reason string stands beside it: the code says it all, mosquitto sends
    /// none, and a property would only be one more thing that can exceed a Maximum Packet Size.
    pub v5: ReasonCode,
}

const fn refusal(v3: Option<ReasonCode>, v5: ReasonCode) -> Refusal {
    Refusal { v3, v5 }
}

const NOT_AUTHORIZED: Refusal = refusal(Some(ReasonCode::V3_NOT_AUTHORIZED), ReasonCode::NOT_AUTHORIZED);
/// The identifier is not taken.
pub(super) const ID_REJECTED: Refusal =
    refusal(Some(ReasonCode::V3_IDENTIFIER_REJECTED), ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);

/// The identifier that a client is given.
#[derive(Debug)]
pub(super) struct Named {
    pub client_id: ByteString,
    /// The client sent none and is to be told this one. `[MQTT-3.2.2-16]` of 5.0
    pub assigned: bool,
}

/// Whether a CONNECT is acceptable, apart from its format and its identifier. Any identifier that is
/// not empty is unless an option says otherwise: `[MQTT-3.1.3-5]`
pub(super) fn admit(
    config: &Config,
    listener: Option<&ListenerConfig>,
    connect: &Connect,
    auth: Result<(), AuthFailure>,
) -> Result<(), Refusal> {
    let v5 = connect.version.is_v5();
    // `accept_protocol_versions`. [MQTT-3.1.2-2]
    if listener.is_some_and(|it| !it.versions.contains(&connect.version)) {
        let v3 = Some(ReasonCode::V3_UNACCEPTABLE_PROTOCOL);
        return Err(refusal(v3, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION));
    }
    // [MQTT-3.1.2-22]; legal in 5.0.
    if !v5 && connect.password.is_some() && connect.username.is_none() {
        return Err(refusal(None, ReasonCode::PROTOCOL_ERROR));
    }
    let properties = &connect.properties;
    if properties.authentication_data().is_some() && properties.authentication_method().is_none() {
        return Err(refusal(None, ReasonCode::PROTOCOL_ERROR));
    }
    // `max_keepalive`: a client of 5.0 is told a shorter one, an older one cannot be.
    let longest = config.limits.max_keepalive;
    let inside = listener.is_none();
    if !v5 && !inside && longest > 0 && (connect.keep_alive == 0 || connect.keep_alive > longest) {
        return Err(ID_REJECTED);
    }
    if let Some(will) = &connect.will {
        admit_will(config, listener, will)?;
    }
    auth.map_err(|failure| match failure {
        AuthFailure::AnonymousRefused | AuthFailure::BadCredentials => NOT_AUTHORIZED,
        AuthFailure::NoIdentity => {
            refusal(Some(ReasonCode::V3_BAD_CREDENTIALS), ReasonCode::BAD_USER_NAME_OR_PASSWORD)
        }
    })
}

fn admit_will(config: &Config, listener: Option<&ListenerConfig>, will: &Will) -> Result<(), Refusal> {
    // [MQTT-3.2.2-13] of 5.0
    if will.retain && !config.limits.retain_available {
        return Err(refusal(None, ReasonCode::RETAIN_NOT_SUPPORTED));
    }
    // [MQTT-3.2.2-12] of 5.0
    if listener.is_some_and(|it| will.qos > it.max_qos) {
        return Err(refusal(None, ReasonCode::QOS_NOT_SUPPORTED));
    }
    let limit = config.limits.message_size_limit as usize;
    if limit > 0 && will.payload.len() > limit {
        return Err(refusal(Some(ReasonCode::V3_NOT_AUTHORIZED), ReasonCode::PACKET_TOO_LARGE));
    }
    // As for any topic that is published to.
    let prefix = listener.and_then(|it| it.mount_point.as_deref()).unwrap_or_default();
    let topic = will.topic.as_str();
    if separators(prefix) + separators(topic) > MAX_TOPIC_SEPARATORS
        || prefix.len() + topic.len() > usize::from(u16::MAX)
    {
        return Err(refusal(None, ReasonCode::TOPIC_NAME_INVALID));
    }
    Ok(())
}

/// The identifier of a client: its own of any length that the format allows (3.1 asks for at most 23
/// characters, 3.1.1 leaves more to the server, mosquitto takes all), its user name
/// (`use_username_as_clientid`), or one that `invent` makes with the prefix it is given.
pub(super) fn name(
    config: &Config,
    listener: Option<&ListenerConfig>,
    security: Option<&SecurityConfig>,
    connect: &Connect,
    invent: impl FnOnce(&str) -> ByteString,
) -> Result<Named, Refusal> {
    let assigned = connect.client_id.is_empty();
    let mut client_id = if assigned {
        // [MQTT-3.1.3-8], [MQTT-3.1.3-9] 5: [MQTT-3.1.3-8]; 3.1 has no empty identifier at all.
        let needs_id = match connect.version {
            ProtocolVersion::V31 => true,
            ProtocolVersion::V311 => !connect.clean_start,
            ProtocolVersion::V5 => false,
        };
        // `allow_zero_length_clientid`. mosquitto says 0x80; the standard names the code for it, and
        // [MQTT-3.1.3-8] of 5.0 wants that one.
        if needs_id || security.is_some_and(|it| !it.allow_zero_length_clientid) {
            return Err(ID_REJECTED);
        }
        invent(security.map_or("auto-", |it| &it.auto_id_prefix))
    } else {
        owned(&connect.client_id)
    };
    // As in mosquitto, an invented identifier has to begin so as well.
    let prefixes = config.limits.clientid_prefixes.as_deref().filter(|_| listener.is_some());
    if prefixes.is_some_and(|prefix| !client_id.starts_with(prefix)) {
        return Err(NOT_AUTHORIZED);
    }
    if listener.is_some_and(|it| it.use_username_as_clientid) {
        match connect.username.as_ref().filter(|username| !username.is_empty()) {
            Some(username) => client_id = owned(username),
            None => return Err(NOT_AUTHORIZED),
        }
    }
    Ok(Named { client_id, assigned })
}
