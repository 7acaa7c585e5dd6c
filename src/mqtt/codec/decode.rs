//! The body of each of the fifteen packets, from bytes (chapter 3). Which packet may come from
//! whom, and when, is not asked here.

use super::error::{DecodeErrorKind as Kind, Fault, Rule};
use super::properties::{self, Place};
use super::reader::Reader;
use crate::mqtt::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, PacketType, Publish, RetainHandling, SubAck, Subscribe,
    Subscription, SubscriptionOptions, UnsubAck, Unsubscribe, Will,
};
use crate::mqtt::{Packet, PacketId, Properties, ProtocolVersion, QoS, ReasonCode, TopicName};

/// Reads the body of a packet other than CONNECT. `flags` were checked by [`check_flags`].
pub(super) fn body(
    kind: PacketType,
    flags: u8,
    version: ProtocolVersion,
    reader: &mut Reader,
) -> Result<Packet, Fault> {
    let packet = match kind {
        PacketType::Connect => connect(reader).map_err(|(fault, _)| fault)?,
        PacketType::ConnAck => conn_ack(reader, version).map(Packet::ConnAck)?,
        PacketType::Publish => publish(reader, flags, version).map(Packet::Publish)?,
        PacketType::PubAck => ack(reader, kind, version).map(Packet::PubAck)?,
        PacketType::PubRec => ack(reader, kind, version).map(Packet::PubRec)?,
        PacketType::PubRel => ack(reader, kind, version).map(Packet::PubRel)?,
        PacketType::PubComp => ack(reader, kind, version).map(Packet::PubComp)?,
        PacketType::Subscribe => subscribe(reader, version).map(Packet::Subscribe)?,
        PacketType::SubAck => sub_ack(reader, version).map(Packet::SubAck)?,
        PacketType::Unsubscribe => unsubscribe(reader, version).map(Packet::Unsubscribe)?,
        PacketType::UnsubAck => unsub_ack(reader, version).map(Packet::UnsubAck)?,
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => disconnect(reader, version).map(Packet::Disconnect)?,
        PacketType::Auth => auth(reader).map(Packet::Auth)?,
    };
    reader.end()?;
    Ok(packet)
}

/// The lower four bits of the first byte (2.2.2; 2.1.3 in 5.0). MQTT 3.1 calls them unused
/// wherever they are not PUBLISH's, and lets SUBSCRIBE and its like be repeated with DUP.
pub(super) fn check_flags(kind: PacketType, flags: u8, version: ProtocolVersion) -> Result<(), Fault> {
    let (wanted, rule) = match kind {
        PacketType::Publish => return check_publish_flags(flags, version),
        _ if version == ProtocolVersion::V31 => return Ok(()),
        // [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1]
        PacketType::PubRel => (0b0010, Rule("MQTT-3.6.1-1", "MQTT-3.6.1-1")),
        PacketType::Subscribe => (0b0010, Rule("MQTT-3.8.1-1", "MQTT-3.8.1-1")),
        PacketType::Unsubscribe => (0b0010, Rule("MQTT-3.10.1-1", "MQTT-3.10.1-1")),
        // [MQTT-3.14.1-1], [MQTT-3.15.1-1]
        PacketType::Disconnect => (0, Rule("MQTT-3.14.1-1", "MQTT-3.14.1-1")),
        PacketType::Auth => (0, Rule::v5("MQTT-3.15.1-1")),
        // [MQTT-2.2.2-2] 5: [MQTT-2.1.3-1], [U5-2.1.3-1]
        _ => (0, Rule("MQTT-2.2.2-2", "MQTT-2.1.3-1")),
    };
    if flags == wanted {
        return Ok(());
    }
    let detail = format!("fixed header flags are {flags:04b}, not {wanted:04b}");
    Err(Fault::new(Kind::BadFlags, rule, detail))
}

fn check_publish_flags(flags: u8, version: ProtocolVersion) -> Result<(), Fault> {
    // [MQTT-3.3.1-4] 5: [U5-3.3.1-1]
    if flags & 0b0110 == 0b0110 {
        let rule = Rule("MQTT-3.3.1-4", "MQTT-3.3.1-4");
        return Err(Fault::new(Kind::BadFlags, rule, "QoS 3"));
    }
    // [MQTT-3.3.1-2], [U311-3.3.1-1]; 3.1 only says that it means nothing.
    if flags & 0b1110 == 0b1000 && version != ProtocolVersion::V31 {
        let rule = Rule("MQTT-3.3.1-2", "MQTT-3.3.1-2");
        return Err(Fault::new(Kind::BadFlags, rule, "DUP with QoS 0"));
    }
    Ok(())
}

fn header_properties(
    reader: &mut Reader,
    kind: PacketType,
    version: ProtocolVersion,
) -> Result<Properties, Fault> {
    if version.is_v5() { properties::read(reader, Place::Header(kind)) } else { Ok(Properties::new()) }
}

/// A fault in a CONNECT and the revision that it announced, as far as that was read.
type ConnectFault = (Fault, Option<ProtocolVersion>);

/// CONNECT (3.1), whose first fields say how to read the others.
pub(super) fn connect(reader: &mut Reader) -> Result<Packet, ConnectFault> {
    let (version, bridge) = protocol(reader)?;
    connect_fields(reader, version, bridge)
        .map(|connect| Packet::Connect(Box::new(connect)))
        .map_err(|fault| (fault, Some(version)))
}

/// Protocol name and level.
fn protocol(reader: &mut Reader) -> Result<(ProtocolVersion, bool), ConnectFault> {
    let unknown = |fault| (fault, None);
    let name = reader.string("protocol name").map_err(unknown)?;
    let level = reader.u8("protocol level").map_err(unknown)?;
    // [MQTT-3.1.2-1]
    if name != "MQTT" && name != "MQIsdp" {
        let rule = Rule("MQTT-3.1.2-1", "MQTT-3.1.2-1");
        let shown: String = name.chars().take(20).collect();
        let detail = format!("protocol name is `{}`", crate::text::escape(&shown));
        return Err(unknown(Fault::new(Kind::BadProtocolName, rule, detail)));
    }
    let version = match (&*name, level & 0x7f) {
        ("MQIsdp", 3) => ProtocolVersion::V31,
        ("MQTT", 4) => ProtocolVersion::V311,
        ("MQTT", 5) if level == 5 => ProtocolVersion::V5,
        // [MQTT-3.1.2-2]
        _ => {
            let rule = Rule("MQTT-3.1.2-2", "MQTT-3.1.2-2");
            let detail = format!("no revision is called {name} with level {level}");
            // Who announces less than 5 reads what was before 5.0.
            let older = (level & 0x7f < 5).then_some(ProtocolVersion::V311);
            return Err((Fault::new(Kind::UnsupportedVersion, rule, detail), older));
        }
    };
    Ok((version, level & 0x80 != 0))
}

/// The byte of connect flags (3.1.2.3).
#[derive(Clone, Copy)]
struct ConnectFlags(u8);

impl ConnectFlags {
    const CLEAN: u8 = 0x02;
    const WILL: u8 = 0x04;
    const WILL_RETAIN: u8 = 0x20;
    const PASSWORD: u8 = 0x40;
    const USER: u8 = 0x80;

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// [MQTT-3.1.2-3], [U5-3.1.2-1] and the contradictions. In 3.1 the reserved bit and the will's bits
    /// without a will are disregarded.
    fn check(self, version: ProtocolVersion) -> Result<(), Fault> {
        let fail = |rule, detail: &str| Err(Fault::new(Kind::BadConnectFlags, rule, detail));
        let strict = version != ProtocolVersion::V31;
        if strict && self.has(0x01) {
            return fail(Rule("MQTT-3.1.2-3", "MQTT-3.1.2-3"), "the reserved connect flag is 1");
        }
        // [MQTT-3.1.2-14] 5: [MQTT-3.1.2-12], [U5-3.1.2-2]
        if self.has(Self::WILL) && self.will_qos().is_none() {
            return fail(Rule("MQTT-3.1.2-14", "MQTT-3.1.2-12"), "will QoS 3");
        }
        // [MQTT-3.1.2-13], [MQTT-3.1.2-15] 5: [MQTT-3.1.2-11], [MQTT-3.1.2-13]
        if strict && !self.has(Self::WILL) && self.0 & 0x18 != 0 {
            return fail(Rule("MQTT-3.1.2-13", "MQTT-3.1.2-11"), "will QoS without a will");
        }
        if strict && !self.has(Self::WILL) && self.has(Self::WILL_RETAIN) {
            return fail(Rule("MQTT-3.1.2-15", "MQTT-3.1.2-13"), "will retain without a will");
        }
        // [MQTT-3.1.2-22]; 5.0 allows it
        if !version.is_v5() && self.has(Self::PASSWORD) && !self.has(Self::USER) {
            return fail(Rule("MQTT-3.1.2-22", "MQTT-3.1.2-19"), "a password without a user name");
        }
        Ok(())
    }

    fn will_qos(self) -> Option<QoS> {
        QoS::from_u8(self.0 >> 3 & 3)
    }
}

fn connect_fields(reader: &mut Reader, version: ProtocolVersion, bridge: bool) -> Result<Connect, Fault> {
    let flags = ConnectFlags(reader.u8("connect flags")?);
    flags.check(version)?;
    let keep_alive = reader.u16("keep alive")?;
    let properties = header_properties(reader, PacketType::Connect, version)?;
    // [MQTT-3.1.3-1]: the order of the payload
    let client_id = reader.string("client identifier")?;
    let will = match flags.will_qos() {
        Some(qos) if flags.has(ConnectFlags::WILL) => Some(will(reader, version, flags, qos)?),
        _ => None,
    };
    // MQTT 3.1 lets the Remaining Length overrule the flags: what is not there was not sent.
    let there = |reader: &Reader| version != ProtocolVersion::V31 || reader.left() > 0;
    let username =
        if flags.has(ConnectFlags::USER) && there(reader) { Some(reader.string("user name")?) } else { None };
    let password = if flags.has(ConnectFlags::PASSWORD) && there(reader) {
        Some(reader.binary("password")?)
    } else {
        None
    };
    let clean_start = flags.has(ConnectFlags::CLEAN);
    Ok(Connect { version, bridge, clean_start, keep_alive, client_id, will, username, password, properties })
}

fn will(reader: &mut Reader, version: ProtocolVersion, flags: ConnectFlags, qos: QoS) -> Result<Will, Fault> {
    let properties = if version.is_v5() { properties::read(reader, Place::Will)? } else { Properties::new() };
    let topic = reader.topic_name("will topic")?;
    let payload = reader.binary("will payload")?;
    Ok(Will { topic, payload, qos, retain: flags.has(ConnectFlags::WILL_RETAIN), properties })
}

fn conn_ack(reader: &mut Reader, version: ProtocolVersion) -> Result<ConnAck, Fault> {
    let flags = reader.u8("acknowledge flags")?;
    let code = ReasonCode(reader.u8("return code")?);
    // 3.1 does not use the first byte.
    let session_present = version != ProtocolVersion::V31 && flags & 1 != 0;
    if version != ProtocolVersion::V31 && flags > 1 {
        let rule = Rule("MQTT-2.2.2-1", "MQTT-3.2.2-1");
        let detail = format!("acknowledge flags are 0x{flags:02x}");
        return Err(Fault::new(Kind::BadFlags, rule, detail));
    }
    // A server that does not speak the client's revision answers in its own.
    let foreign = match version {
        ProtocolVersion::V5 => reader.left() == 0 && (1..=5).contains(&code.0),
        _ => reader.left() == 1 && code == ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
    };
    let properties = match (foreign, version) {
        (true, ProtocolVersion::V5) => Properties::new(),
        (true, _) => properties::read(reader, Place::Header(PacketType::ConnAck))?,
        (false, _) => header_properties(reader, PacketType::ConnAck, version)?,
    };
    // [MQTT-3.2.2-8]
    let known = if version.is_v5() { code.allowed_in(PacketType::ConnAck) } else { code.0 <= 5 };
    if !known && !foreign {
        return Err(bad_reason(code, Rule("MQTT-3.2.2-6", "MQTT-3.2.2-8")));
    }
    Ok(ConnAck { session_present, code, properties })
}

fn bad_reason(code: ReasonCode, rule: Rule) -> Fault {
    Fault::new(Kind::BadReasonCode, rule, format!("reason code {code} may not stand here"))
}

/// Reads a reason code of 5.0 and checks that `kind` may carry it.
fn reason(reader: &mut Reader, kind: PacketType) -> Result<ReasonCode, Fault> {
    let code = ReasonCode(reader.u8("reason code")?);
    if code.allowed_in(kind) { Ok(code) } else { Err(bad_reason(code, reason_rule(kind))) }
}

fn reason_rule(kind: PacketType) -> Rule {
    Rule::v5(match kind {
        PacketType::PubAck => "MQTT-3.4.2-1",
        PacketType::PubRec => "MQTT-3.5.2-1",
        PacketType::PubRel => "MQTT-3.6.2-1",
        PacketType::PubComp => "MQTT-3.7.2-1",
        PacketType::SubAck => "MQTT-3.9.3-2",
        PacketType::UnsubAck => "MQTT-3.11.3-2",
        PacketType::Disconnect => "MQTT-3.14.2-1",
        _ => "MQTT-3.15.2-1",
    })
}

fn publish(reader: &mut Reader, flags: u8, version: ProtocolVersion) -> Result<Publish, Fault> {
    let qos = QoS::from_u8(flags >> 1 & 3).unwrap_or_default();
    // [MQTT-3.3.2-1], [MQTT-3.3.2-2]
    let empty = version.is_v5() && reader.starts_with(&[0, 0]);
    let topic = if empty {
        reader.u16("topic name")?;
        TopicName::aliased()
    } else {
        reader.topic_name("topic name")?
    };
    // [MQTT-2.3.1-5] 5: [MQTT-2.2.1-2]
    let id = match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
    };
    let properties = header_properties(reader, PacketType::Publish, version)?;
    if empty && properties.topic_alias().is_none() {
        let rule = Rule::v5("U5-3.3.2-1");
        return Err(Fault::new(Kind::NoTopic, rule, "neither a topic nor an alias for one"));
    }
    let payload = reader.rest();
    Ok(Publish { dup: flags & 8 != 0, qos, retain: flags & 1 != 0, topic, id, payload, properties })
}

fn ack(reader: &mut Reader, kind: PacketType, version: ProtocolVersion) -> Result<Ack, Fault> {
    let id = reader.packet_id()?;
    // 5: [U5-3.4.2-1]: reason and property length may be left out.
    if !version.is_v5() || reader.left() == 0 {
        return Ok(Ack::success(id));
    }
    let reason = reason(reader, kind)?;
    let properties = match reader.left() {
        0 => Properties::new(),
        _ => properties::read(reader, Place::Header(kind))?,
    };
    Ok(Ack { id, reason, properties })
}

fn no_filters(rule: Rule) -> Fault {
    Fault::new(Kind::NoFilters, rule, "no topic filter")
}

fn subscribe(reader: &mut Reader, version: ProtocolVersion) -> Result<Subscribe, Fault> {
    let id = reader.packet_id()?;
    let properties = header_properties(reader, PacketType::Subscribe, version)?;
    // [MQTT-3.8.3-3] 5: [MQTT-3.8.3-2], [U5-3.8.3-1]
    if reader.left() == 0 {
        return Err(no_filters(Rule("MQTT-3.8.3-3", "MQTT-3.8.3-2")));
    }
    let mut subscriptions = Vec::new();
    while reader.left() > 0 {
        let filter = reader.topic_filter()?;
        let options = subscription_options(reader.u8("subscription options")?, version)?;
        // [MQTT-3.8.3-4] of 5.0
        if options.no_local && filter.shared().is_some() {
            let rule = Rule::v5("MQTT-3.8.3-4");
            let detail = "No Local on a shared subscription";
            return Err(Fault::new(Kind::BadSubscriptionValue, rule, detail));
        }
        subscriptions.push(Subscription { filter, options });
    }
    Ok(Subscribe { id, properties, subscriptions })
}

/// The byte behind a filter (3.8.3; 3.8.3.1 in 5.0).
fn subscription_options(byte: u8, version: ProtocolVersion) -> Result<SubscriptionOptions, Fault> {
    // [MQTT-3.8.3-4] 5: [MQTT-3.8.3-5]
    let reserved = if version.is_v5() { 0xc0 } else { 0xfc };
    if byte & reserved != 0 {
        let detail = format!("reserved bits in subscription options 0x{byte:02x}");
        return Err(Fault::new(Kind::BadSubscriptionOptions, Rule("MQTT-3.8.3-4", "MQTT-3.8.3-5"), detail));
    }
    let value = |rule, detail: &str| Fault::new(Kind::BadSubscriptionValue, rule, detail);
    let qos = QoS::from_u8(byte & 3).ok_or_else(|| value(Rule("MQTT-3.8.3-4", "U5-3.8.3-2"), "QoS 3"))?;
    let retain_handling = match byte >> 4 & 3 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(value(Rule::v5("U5-3.8.3-3"), "Retain Handling 3")),
    };
    let (no_local, retain_as_published) = (byte & 4 != 0, byte & 8 != 0);
    Ok(SubscriptionOptions { qos, no_local, retain_as_published, retain_handling })
}

fn sub_ack(reader: &mut Reader, version: ProtocolVersion) -> Result<SubAck, Fault> {
    let id = reader.packet_id()?;
    let properties = header_properties(reader, PacketType::SubAck, version)?;
    let mut codes = Vec::with_capacity(reader.left());
    while reader.left() > 0 {
        let code = ReasonCode(reader.u8("return code")?);
        // [MQTT-3.9.3-2]
        let known = if version.is_v5() {
            code.allowed_in(PacketType::SubAck)
        } else {
            code.0 <= 2 || code == ReasonCode::UNSPECIFIED_ERROR
        };
        if !known {
            return Err(bad_reason(code, Rule("MQTT-3.9.3-2", "MQTT-3.9.3-2")));
        }
        codes.push(code);
    }
    Ok(SubAck { id, properties, codes })
}

fn unsubscribe(reader: &mut Reader, version: ProtocolVersion) -> Result<Unsubscribe, Fault> {
    let id = reader.packet_id()?;
    let properties = header_properties(reader, PacketType::Unsubscribe, version)?;
    // [MQTT-3.10.3-2] 5: [U5-3.10.3-1]
    if reader.left() == 0 {
        return Err(no_filters(Rule("MQTT-3.10.3-2", "MQTT-3.10.3-2")));
    }
    let mut filters = Vec::new();
    while reader.left() > 0 {
        filters.push(reader.topic_filter()?);
    }
    Ok(Unsubscribe { id, properties, filters })
}

fn unsub_ack(reader: &mut Reader, version: ProtocolVersion) -> Result<UnsubAck, Fault> {
    let id: PacketId = reader.packet_id()?;
    let properties = header_properties(reader, PacketType::UnsubAck, version)?;
    let mut codes = Vec::new();
    while version.is_v5() && reader.left() > 0 {
        codes.push(reason(reader, PacketType::UnsubAck)?);
    }
    Ok(UnsubAck { id, properties, codes })
}

fn disconnect(reader: &mut Reader, version: ProtocolVersion) -> Result<Disconnect, Fault> {
    // 5: [U5-3.14.2-1]: nothing means 0x00.
    if !version.is_v5() || reader.left() == 0 {
        return Ok(Disconnect::default());
    }
    let reason = reason(reader, PacketType::Disconnect)?;
    let properties = match reader.left() {
        0 => Properties::new(),
        _ => properties::read(reader, Place::Header(PacketType::Disconnect))?,
    };
    Ok(Disconnect { reason, properties })
}

fn auth(reader: &mut Reader) -> Result<Auth, Fault> {
    // 3.15.2.1: nothing means 0x00 and no properties.
    if reader.left() == 0 {
        return Ok(Auth::default());
    }
    let reason = reason(reader, PacketType::Auth)?;
    let properties = properties::read(reader, Place::Header(PacketType::Auth))?;
    if properties.authentication_method().is_none() {
        let rule = Rule::v5("U5-3.15.2-1");
        return Err(Fault::new(Kind::MissingProperty, rule, "no authentication method"));
    }
    Ok(Auth { reason, properties })
}
