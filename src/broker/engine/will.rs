//! The will of a client (3.1.2.5, 3.1.3.2): what is published when it vanishes. Data only; when it
//! goes out is decided in `on_disconnect`.

use bytes::Bytes;

use crate::mqtt::Property;
use crate::mqtt::packet::{Publish, Will};

use super::mount;
use super::publication::{owned_properties, owned_topic};

/// A copy that does not hold the buffer of its CONNECT, to the topic that it has inside the broker.
pub(super) fn keep(will: &Will, prefix: Option<&str>) -> Will {
    let inside = prefix.and_then(|prefix| mount::topic(prefix, &will.topic));
    Will {
        topic: inside.unwrap_or_else(|| owned_topic(&will.topic)),
        payload: Bytes::copy_from_slice(&will.payload),
        qos: will.qos,
        retain: will.retain,
        properties: owned_properties(&will.properties),
    }
}

/// Seconds between the end of the connection and the will.
pub(super) fn delay(will: &Will) -> u32 {
    will.properties.will_delay_interval().unwrap_or(0)
}

/// The message that the will is. [MQTT-3.1.2-9], [MQTT-3.1.2-16], [MQTT-3.1.2-17]
/// 5: [MQTT-3.1.2-14], [MQTT-3.1.2-15], [MQTT-3.1.3-10]
pub(super) fn into_publish(will: Will) -> Publish {
    let Will { topic, payload, qos, retain, mut properties } = will;
    properties.retain(|property| !matches!(property, Property::WillDelayInterval(_)));
    Publish { dup: false, qos, retain, topic, id: None, payload, properties }
}
