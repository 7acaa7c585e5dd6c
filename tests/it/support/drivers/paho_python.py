"""paho-mqtt for Python, 1.6 or 2, as a driver of the interoperability matrix.

A line of JSON on stdin is a command, a line on stdout is its answer; the commands are described in
tests/it/support/drivers/mod.rs. Properties have the standard's names, as paho has them.
Everything waits for an event; nothing sleeps. What takes too long or fails is answered with an error.
"""

import json
import queue
import socket
import sys
from urllib.parse import urlsplit

import paho.mqtt
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCodes
from paho.mqtt.subscribeoptions import SubscribeOptions

PATIENCE = 40
VERSION2 = hasattr(mqtt, "CallbackAPIVersion")
NAMES = """ContentType ResponseTopic CorrelationData UserProperty SubscriptionIdentifier
    MessageExpiryInterval PayloadFormatIndicator TopicAlias SessionExpiryInterval
    AssignedClientIdentifier ServerKeepAlive ReceiveMaximum MaximumPacketSize TopicAliasMaximum
    ReasonString""".split()


def packed(kind, wanted):
    properties = Properties(kind)
    for name, value in (wanted or {}).items():
        if name == "CorrelationData":
            value = value.encode()
        elif name == "UserProperty":
            value = [tuple(pair) for pair in value]
        setattr(properties, name, value)
    return properties


def unpacked(properties):
    found = {}
    for name in NAMES:
        value = getattr(properties, name, None)
        if value is not None:
            found[name] = value.decode() if isinstance(value, bytes) else value
    return found


def number(reason):
    return getattr(reason, "value", reason)


class Peer:
    def __init__(self, wanted):
        self.messages, self.events, self.ends = queue.Queue(), queue.Queue(), queue.Queue()
        self.codes, self.unacknowledged = {}, []
        self.v5 = wanted["version"] == 5
        url = urlsplit(wanted["url"])
        arguments = {
            "client_id": wanted["id"],
            "protocol": {3: mqtt.MQTTv31, 4: mqtt.MQTTv311, 5: mqtt.MQTTv5}[wanted["version"]],
            "transport": "websockets" if url.scheme in ("ws", "wss") else "tcp",
            "reconnect_on_failure": False,
        }
        if VERSION2:
            arguments["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION2
            arguments["manual_ack"] = wanted.get("manual", False)
        if not self.v5:
            arguments["clean_session"] = wanted["clean"]
        self.client = client = mqtt.Client(**arguments)
        if url.scheme in ("mqtts", "wss"):
            client.tls_set(wanted["cafile"])
        if "user" in wanted:
            client.username_pw_set(wanted["user"], wanted["password"])
        will = wanted.get("will")
        if will:
            properties = packed(PacketTypes.WILLMESSAGE, will.get("properties")) if self.v5 else None
            client.will_set(will["topic"], will["payload"], will["qos"], will["retain"], properties)
        client.on_message = self.on_message
        client.on_connect = self.on_connect
        client.on_disconnect = self.on_disconnect
        client.on_subscribe = lambda c, u, mid, codes, p=None: self.events.put([number(x) for x in codes])
        client.on_unsubscribe = self.on_unsubscribe
        client.on_publish = self.on_publish
        arguments = {}
        if self.v5:
            properties = packed(PacketTypes.CONNECT, wanted.get("properties"))
            arguments = {"clean_start": wanted["clean"], "properties": properties}
        client.connect(url.hostname, url.port, wanted.get("keepAlive", 60), **arguments)
        client.loop_start()

    def on_connect(self, client, userdata, flags, reason, properties=None):
        present = flags["session present"] if isinstance(flags, dict) else flags.session_present
        answer = {"code": number(reason), "present": bool(present), "properties": unpacked(properties)}
        self.events.put(answer)

    def on_disconnect(self, client, userdata, *rest):
        # 1.6: (code,) or (code, properties); 2: (flags, code, properties).
        if VERSION2:
            told, reason = rest[0].is_disconnect_packet_from_server, rest[1]
        else:
            told, reason = isinstance(rest[0], ReasonCodes), rest[0]
        self.ends.put(number(reason) if told else None)

    def on_unsubscribe(self, client, userdata, mid, *rest):
        # 1.6: () or (properties, codes); 2: (codes, properties).
        codes = next((x for x in rest if isinstance(x, (list, ReasonCodes))), [])
        self.events.put([number(x) for x in (codes if isinstance(codes, list) else [codes])])

    def on_publish(self, client, userdata, mid, *rest):
        if rest:
            self.codes[mid] = number(rest[0])

    def on_message(self, client, userdata, message):
        self.messages.put(
            {
                "topic": message.topic,
                "payload": message.payload.decode(),
                "qos": message.qos,
                "retain": bool(message.retain),
                "properties": unpacked(getattr(message, "properties", None)),
            }
        )
        self.unacknowledged.append((message.mid, message.qos))

    def subscribe(self, wanted):
        arguments = {"qos": wanted["qos"]}
        if self.v5:
            options = SubscribeOptions(
                wanted["qos"],
                wanted.get("noLocal", False),
                wanted.get("retainAsPublished", False),
                wanted.get("retainHandling", 0),
            )
            arguments = {"options": options}
            identifier = wanted.get("identifier")
            if identifier:
                properties = {"SubscriptionIdentifier": identifier}
                arguments["properties"] = packed(PacketTypes.SUBSCRIBE, properties)
        self.client.subscribe(wanted["filter"], **arguments)
        return {"codes": self.events.get(timeout=PATIENCE)}

    def unsubscribe(self, wanted):
        self.client.unsubscribe(wanted["filter"])
        return {"codes": self.events.get(timeout=PATIENCE)}

    def publish(self, wanted):
        properties = packed(PacketTypes.PUBLISH, wanted.get("properties")) if self.v5 else None
        info = self.client.publish(
            wanted["topic"], wanted["payload"], wanted["qos"], wanted["retain"], properties=properties
        )
        info.wait_for_publish(PATIENCE)
        assert info.is_published(), "not acknowledged"
        return {"code": self.codes.get(info.mid, 0)}

    def message(self, wanted):
        return self.messages.get(timeout=PATIENCE)

    def count(self, wanted):
        return {"count": self.messages.qsize()}

    def acknowledge(self, wanted):
        # Those that are here now: an acknowledgement lets the next ones come.
        for _ in range(len(self.unacknowledged)):
            self.client.ack(*self.unacknowledged.pop(0))
        return {}

    def closed(self, wanted):
        code = self.ends.get(timeout=PATIENCE)
        self.client.loop_stop()
        return {"code": code}

    def disconnect(self, wanted):
        if self.v5:
            self.client.disconnect(ReasonCodes(PacketTypes.DISCONNECT, identifier=wanted.get("code", 0)))
        else:
            self.client.disconnect()
        self.closed(wanted)
        return {}

    def drop(self, wanted):
        carrier = self.client.socket()
        # 1.6 does not give away what is below a WebSocket.
        getattr(carrier, "_socket", carrier).shutdown(socket.SHUT_RDWR)
        self.closed(wanted)
        return {}


def main():
    peers = {}
    library = getattr(paho.mqtt, "__version__", "1")
    print(json.dumps({"library": f"paho-mqtt {library}"}), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        try:
            if wanted["do"] == "connect":
                peer = peers[wanted["peer"]] = Peer(wanted)
                answer = peer.events.get(timeout=PATIENCE)
            elif wanted["do"] == "reset":
                for peer in peers.values():
                    peer.client.disconnect()
                    peer.client.loop_stop()
                peers, answer = {}, {}
            else:
                answer = getattr(peers[wanted["peer"]], wanted["do"])(wanted)
        except Exception as error:  # The matrix says what was asked for when this happened.
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


main()
