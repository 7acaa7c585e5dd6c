// MQTT.js against our broker: argv is the folder that it is installed in, an address (mqtt, mqtts,
// ws or wss), a protocol (3, 4 or 5) and the authority of a TLS address. Prints ok and ends with 0.
//
// Everything waits for an event of the broker; nothing sleeps. A wait that is too long ends it all.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [folder, address, level, cafile] = process.argv.slice(2);
const mqtt = createRequire(`${folder}/`)("mqtt");
const version = Number(level);
const v5 = version === 5;
const COUNT = 200;
setTimeout(() => { throw new Error("not within 60 s"); }, 60_000).unref();

class Peer {
    static async join(clientId, { clean = true, will } = {}) {
        const peer = new Peer();
        peer.waiting = [];
        peer.arrived = [];
        const client = mqtt.connect(address, {
            clientId,
            clean,
            will,
            protocolVersion: version,
            protocolId: version === 3 ? "MQIsdp" : "MQTT",
            reconnectPeriod: 0,
            ca: cafile && readFileSync(cafile),
            properties: v5 ? { sessionExpiryInterval: clean ? 0 : 300 } : undefined,
        });
        client.on("message", (topic, payload, packet) => {
            const wanted = peer.waiting.shift();
            if (wanted) wanted(packet); else peer.arrived.push(packet);
        });
        peer.client = client;
        peer.connack = await new Promise((resolve, reject) => {
            client.once("connect", resolve);
            client.once("error", reject);
            client.once("close", () => reject(new Error("closed")));
        });
        return peer;
    }

    message() {
        const there = this.arrived.shift();
        return there ? Promise.resolve(there) : new Promise((resolve) => this.waiting.push(resolve));
    }

    async subscribe(filter, qos) {
        const granted = await this.client.subscribeAsync(filter, { qos });
        assert.deepEqual(granted.map((one) => one.qos), [qos]);
    }
}

const watch = await Peer.join("watch");
await watch.subscribe("js/#", 2);
const sender = await Peer.join("sender", { will: { topic: "js/will", payload: "lost", qos: 1 } });

// MQTT.js does not look at the Receive Maximum of 20: no more than that are under way at once.
for (const qos of [0, 1, 2]) {
    for (let n = 0; n < COUNT; n += 20) {
        const sent = [];
        for (let m = n; m < n + 20; m++) sent.push(sender.client.publishAsync(`js/${qos}`, String(m), { qos }));
        await Promise.all(sent);
    }
    for (let n = 0; n < COUNT; n++) {
        const got = await watch.message();
        assert.deepEqual([got.topic, got.qos, String(got.payload)], [`js/${qos}`, qos, String(n)]);
    }
}

const large = Buffer.alloc(1_000_000, Uint8Array.from({ length: 256 }, (_, n) => n));
await sender.client.publishAsync("js/large", large, { qos: 2 });
assert.ok((await watch.message()).payload.equals(large));

if (v5) {
    const properties = { userProperties: { b: ["2", "3"] }, responseTopic: "answer", contentType: "text/plain" };
    await sender.client.publishAsync("js/properties", "x", { qos: 1, properties });
    const got = (await watch.message()).properties;
    assert.deepEqual(got.userProperties.b, ["2", "3"]);
    assert.deepEqual([got.responseTopic, got.contentType], ["answer", "text/plain"]);
}

// A stream that is cut: the will is sent.
sender.client.on("error", () => {});
sender.client.stream.destroy();
assert.equal(String((await watch.message()).payload), "lost");

// A session that waits for its client.
let stays = await Peer.join("stays", { clean: false });
await stays.subscribe("stay", 1);
await stays.client.endAsync();
await watch.client.publishAsync("stay", "meanwhile", { qos: 1 });
stays = await Peer.join("stays", { clean: false });
// 3.1 has no such flag.
assert.ok(stays.connack.sessionPresent || version === 3);
assert.equal(String((await stays.message()).payload), "meanwhile");
await stays.client.endAsync();
await watch.client.endAsync();
console.log("ok");
