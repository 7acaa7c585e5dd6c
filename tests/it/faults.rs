//! What single faults of `--fault` make of a conversation, packet by packet. That each of them is noticed by
//! a scenario is `mutation`'s business.

use mqttlab::broker::fault::{Chain, FaultSpec, Faults, Outcome, Way};
use mqttlab::mqtt::ProtocolVersion;
use mqttlab::mqtt::notation::PacketLine;
use mqttlab::text::hex;

use ProtocolVersion::{V5, V311};

fn bytes(line: &str, version: ProtocolVersion) -> Vec<u8> {
    let parsed = PacketLine::parse(line).unwrap_or_else(|error| panic!("{line}: {}", error.message));
    parsed.build(version).unwrap_or_else(|error| panic!("{line}: {}", error.message)).bytes.to_vec()
}

/// Plays lines: `> …` the client sends, `< …` the broker sends, `> end` and `< end` end their streams. What
/// comes out must be `wanted`, in the same notation; how the two directions interleave is not looked at.
fn check(fault: &str, version: ProtocolVersion, script: &[&str], wanted: &[&str]) {
    let fault = FaultSpec::named(fault).expect("a fault");
    let mut chain = Chain::new(&Faults::new(&[fault]));
    let mut outcome = Outcome::default();
    let told = |line: &str| match line.split_once(' ') {
        Some((">", packet)) => (Way::Up, packet.to_owned()),
        Some(("<", packet)) => (Way::Down, packet.to_owned()),
        _ => panic!("{line}: neither > nor <"),
    };
    for line in script {
        match told(line) {
            (way, packet) if packet == "end" => chain.ended(way, &mut outcome),
            (way, packet) => chain.read(way, &bytes(&packet, version), &mut outcome),
        }
    }
    let (mut up, mut down, mut ends) = (Vec::new(), Vec::new(), (false, false));
    for line in wanted {
        match told(line) {
            (Way::Up, packet) if packet == "end" => ends.0 = true,
            (Way::Down, packet) if packet == "end" => ends.1 = true,
            (Way::Up, packet) => up.extend(bytes(&packet, version)),
            (Way::Down, packet) => down.extend(bytes(&packet, version)),
        }
    }
    assert_eq!(hex(&outcome.up), hex(&up), "{}: to the broker", fault.name);
    assert_eq!(hex(&outcome.down), hex(&down), "{}: to the client", fault.name);
    assert_eq!((outcome.end_up, outcome.end_down), ends, "{}: ends", fault.name);
}

const HELLO: &str = "> CONNECT clean client=a";

#[test]
fn the_control_changes_nothing() {
    let script = [HELLO, "< CONNACK 0", "> SUBSCRIBE t id=1 qos=1", "< SUBACK id=1 1", "> end", "< end"];
    for version in [V311, V5] {
        check("none", version, &script, &script);
    }
}

#[test]
fn packets_are_lost_doubled_and_altered() {
    let message = "< PUBLISH t \"x\" qos=1 id=1 dup";
    check("redelivery-without-dup", V311, &[HELLO, message], &[HELLO, "< PUBLISH t \"x\" qos=1 id=1"]);
    check("redelivery-missing", V311, &[HELLO, message], &[HELLO]);
    check("puback-twice", V5, &[HELLO, "< PUBACK id=7"], &[HELLO, "< PUBACK id=7", "< PUBACK id=7"]);
    check("puback-wrong-id", V5, &[HELLO, "< PUBACK id=7"], &[HELLO, "< PUBACK id=8"]);
    check("keep-alive-ignored", V311, &["> CONNECT clean client=a keepalive=9"], &[HELLO]);
}

#[test]
fn a_lowered_qos_is_settled_with_the_broker() {
    let script = [HELLO, "< PUBLISH t \"x\" qos=2 id=3", "< PUBREL id=3"];
    let wanted = [HELLO, "> PUBREC id=3", "> PUBCOMP id=3", "< PUBLISH t \"x\" qos=0"];
    check("lowers-qos", V311, &script, &wanted);
}

#[test]
fn what_breaks_a_rule_is_taken_for_good() {
    let script = [HELLO, "> SUBSCRIBE a# id=1 qos=0", "> PINGREQ"];
    check("accepts-hash-anywhere", V311, &script, &[HELLO, "> PINGREQ", "< SUBACK id=1 0"]);
    check("accepts-plus-anywhere", V311, &script, &script);
}

#[test]
fn an_end_is_kept_from_the_client_and_its_pings_are_answered() {
    let script = [HELLO, "< CONNACK 0", "< DISCONNECT 0x82", "< end", "> PINGREQ", "> PUBLISH t \"x\""];
    check("never-closes", V5, &script, &[HELLO, "< CONNACK 0", "< PINGRESP"]);
    let wanted = [HELLO, "< CONNACK 0", "< PINGRESP"];
    check("forgives-protocol-errors", V5, &script, &wanted);
    let heard = [HELLO, "> PINGREQ", "> PUBLISH t \"x\"", "< CONNACK 0", "< DISCONNECT 0x82", "< end"];
    check("forgives-topic-alias", V5, &script, &heard);
}

#[test]
fn a_will_is_lost_at_a_takeover_and_sent_at_a_cut() {
    let will = "> CONNECT clean client=a will.topic=w will.payload=gone will.qos=1";
    let takeover = [will, "< DISCONNECT 0x8e", "< end"];
    check("will-only-on-cut", V5, &takeover, &[HELLO, "< DISCONNECT 0x8e", "< end"]);
    check("will-only-on-cut", V5, &[will, "> end"], &[HELLO, "> PUBLISH w \"gone\"", "> end"]);
    let goodbye = [will, "> DISCONNECT", "> end"];
    check("will-only-on-cut", V5, &goodbye, &[HELLO, "> DISCONNECT", "> end"]);
}
