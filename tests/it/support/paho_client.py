"""paho-mqtt against our broker: argv is port and protocol (3, 4 or 5), and then, where that is not
tcp, the transport, and the authority of a TLS port. Prints ok and ends with 0.

Everything waits for an event of the broker; nothing sleeps. A wait that is too long raises.
"""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT, PROTOCOL = int(sys.argv[1]), int(sys.argv[2])
TRANSPORT = sys.argv[3] if len(sys.argv) > 3 else "tcp"
CAFILE = sys.argv[4] if len(sys.argv) > 4 else None
V5 = PROTOCOL == mqtt.MQTTv5
PATIENCE = 60
COUNT = 200


class Peer:
    """A client whose callbacks fill queues."""

    def __init__(self, name, clean=True, will=None):
        arguments = {} if V5 else {"clean_session": clean}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=PROTOCOL,
            transport=TRANSPORT,
            **arguments,
        )
        if CAFILE:
            self.client.tls_set(CAFILE)
        self.messages, self.events = queue.Queue(), queue.Queue()
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_connect = lambda c, u, flags, reason, p: self.events.put((reason, flags))
        self.client.on_subscribe = lambda c, u, mid, reasons, p: self.events.put(reasons)
        self.client.on_disconnect = lambda c, u, flags, reason, p: self.events.put(reason)
        if will:
            self.client.will_set(*will)
        arguments = {}
        if V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 300
            arguments = {"clean_start": clean, "properties": properties}
        self.client.connect("localhost" if CAFILE else "127.0.0.1", PORT, **arguments)
        self.client.loop_start()
        reason, self.flags = self.event()
        assert reason == "Success", reason

    def event(self):
        return self.events.get(timeout=PATIENCE)

    def message(self):
        return self.messages.get(timeout=PATIENCE)

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        reasons = self.event()
        assert [reason.value for reason in reasons] == [qos], reasons

    def publish(self, *arguments, **named):
        self.client.publish(*arguments, **named).wait_for_publish(PATIENCE)

    def leave(self):
        self.client.disconnect()
        self.event()
        self.client.loop_stop()


def main():
    watch = Peer("watch")
    watch.subscribe("paho/#", 2)
    sender = Peer("sender", will=("paho/will", "lost", 1))

    for qos in (0, 1, 2):
        infos = [sender.client.publish(f"paho/{qos}", str(n), qos) for n in range(COUNT)]
        got = [watch.message() for _ in range(COUNT)]
        assert [int(message.payload) for message in got] == list(range(COUNT))
        assert {message.qos for message in got} == {qos}
        for info in infos:
            info.wait_for_publish(PATIENCE)

    large = bytes(range(256)) * 1024
    sender.publish("paho/large", large, 2)
    assert watch.message().payload == large

    if V5:
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("b", "2"), ("a", "1")]
        properties.ResponseTopic, properties.CorrelationData = "answer", b"\x00\x01"
        properties.ContentType, properties.PayloadFormatIndicator = "text/plain", 1
        properties.MessageExpiryInterval = 60
        sender.publish("paho/properties", "x", 1, properties=properties)
        got = watch.message().properties
        assert got.UserProperty == [("b", "2"), ("a", "1")]
        assert (got.ResponseTopic, got.CorrelationData) == ("answer", b"\x00\x01")
        assert (got.ContentType, got.PayloadFormatIndicator) == ("text/plain", 1)
        assert got.MessageExpiryInterval <= 60

    # A socket that is cut: the will is sent.
    sender.client.on_disconnect = None
    sender.client.loop_stop()
    sender.client.socket().close()
    assert watch.message().payload == b"lost"

    # A session that waits for its client.
    stays = Peer("stays", clean=False)
    stays.subscribe("stay", 1)
    stays.leave()
    watch.publish("stay", "meanwhile", 1)
    stays = Peer("stays", clean=False)
    # 3.1 has no such flag.
    assert stays.flags.session_present or PROTOCOL == mqtt.MQTTv31
    assert stays.message().payload == b"meanwhile"
    stays.leave()
    watch.leave()
    print("ok")


main()
