//! rumqttc, a client library that we did not write, against our broker; the second engine of the
//! runner, so its packets matter.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::broker::{PATIENCE, start};
use mqttlab::broker::server::Medium;

/// Messages for each quality of service.
const COUNT: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn rumqttc_v4_sends_and_receives_at_every_quality_of_service() {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
    let broker = start(Medium::Sockets).await;
    let mut options = MqttOptions::new("rumqttc", "127.0.0.1", broker.addresses()[0].port());
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, 1000);
    client.subscribe("r/#", QoS::ExactlyOnce).await.expect("queued");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for number in 0..COUNT {
            client.publish(format!("r/{}", qos as u8), qos, false, number.to_string()).await.expect("queued");
        }
    }
    let mut received = [const { Vec::new() }; 3];
    let collecting = async {
        while received.iter().map(Vec::len).sum::<usize>() < 3 * COUNT {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.expect("connected") {
                received[publish.qos as usize].push(String::from_utf8_lossy(&publish.payload).into_owned());
            }
        }
    };
    timeout(PATIENCE, collecting).await.expect("all of them");
    assert_numbered(&received);
}

#[tokio::test(flavor = "multi_thread")]
async fn rumqttc_v5_sends_and_receives_at_every_quality_of_service() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};
    let broker = start(Medium::Sockets).await;
    let mut options = MqttOptions::new("rumqttc", "127.0.0.1", broker.addresses()[0].port());
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, 1000);
    client.subscribe("r/#", QoS::ExactlyOnce).await.expect("queued");
    let properties = PublishProperties {
        content_type: Some("number".to_owned()),
        user_properties: vec![("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())],
        ..PublishProperties::default()
    };
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for number in 0..COUNT {
            let (topic, payload) = (format!("r/{}", qos as u8), number.to_string());
            let sending = client.publish_with_properties(topic, qos, false, payload, properties.clone());
            sending.await.expect("queued");
        }
    }
    let mut received = [const { Vec::new() }; 3];
    let collecting = async {
        while received.iter().map(Vec::len).sum::<usize>() < 3 * COUNT {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.expect("connected") {
                let got = publish.properties.expect("properties");
                assert_eq!(
                    (got.content_type, got.user_properties),
                    (properties.content_type.clone(), properties.user_properties.clone())
                );
                received[publish.qos as usize].push(String::from_utf8_lossy(&publish.payload).into_owned());
            }
        }
    };
    timeout(PATIENCE, collecting).await.expect("all of them");
    assert_numbered(&received);
}

fn assert_numbered(received: &[Vec<String>; 3]) {
    let wanted: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    for messages in received {
        assert_eq!(messages, &wanted);
    }
}
