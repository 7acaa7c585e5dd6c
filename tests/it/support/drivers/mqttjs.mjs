// MQTT.js as a driver of the interoperability matrix: argv is the folder that it is installed in.
//
// A line of JSON on stdin is a command, a line on stdout is its answer; the commands are described in
// tests/it/support/drivers/mod.rs. Properties have the standard's names.
// Everything waits for an event; nothing sleeps. What takes too long or fails is answered with an error.

import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const folder = process.argv[2];
const load = createRequire(`${folder}/`);
const mqtt = load("mqtt");
const PATIENCE = 40_000;

const upper = (name) => name[0].toUpperCase() + name.slice(1);
const lower = (name) => name[0].toLowerCase() + name.slice(1);

function packed(wanted = {}) {
    const properties = {};
    for (const [name, value] of Object.entries(wanted)) {
        if (name === "UserProperty") {
            properties.userProperties = {};
            for (const [key, text] of value) (properties.userProperties[key] ??= []).push(text);
        } else if (name === "CorrelationData") properties.correlationData = Buffer.from(value);
        else if (name === "PayloadFormatIndicator") properties.payloadFormatIndicator = value === 1;
        else properties[lower(name)] = value;
    }
    return properties;
}

function unpacked(properties = {}) {
    const found = {};
    for (const [name, value] of Object.entries(properties)) {
        if (name === "userProperties") {
            found.UserProperty = Object.entries(value).flatMap(([key, texts]) => [texts].flat().map((text) => [key, text]));
        } else if (name === "subscriptionIdentifier") found.SubscriptionIdentifier = [value].flat();
        else if (name === "payloadFormatIndicator") found.PayloadFormatIndicator = Number(value);
        else found[upper(name)] = Buffer.isBuffer(value) ? value.toString() : value;
    }
    return found;
}

// What comes and who waits for it.
class Queue {
    there = [];
    waiting = [];
    put(one) {
        const first = this.waiting.shift();
        if (first) first(one); else this.there.push(one);
    }
    get() {
        return this.there.length ? this.there.shift() : new Promise((resolve) => this.waiting.push(resolve));
    }
}

// SCRAM-SHA-256, RFC 5802 and 7677.
class Scram {
    constructor(user, password) {
        this.password = password;
        this.bare = `n=${user},r=${randomBytes(18).toString("base64")}`;
    }
    first() {
        return Buffer.from(`n,,${this.bare}`);
    }
    final(challenge) {
        const found = Object.fromEntries(String(challenge).split(",").map((part) => [part[0], part.slice(2)]));
        const hmac = (key, data) => createHmac("sha256", key).update(data).digest();
        const salted = pbkdf2Sync(this.password, Buffer.from(found.s, "base64"), Number(found.i), 32, "sha256");
        const clientKey = hmac(salted, "Client Key");
        const withoutProof = `c=biws,r=${found.r}`;
        const message = `${this.bare},${challenge},${withoutProof}`;
        const signature = hmac(createHash("sha256").update(clientKey).digest(), message);
        this.expected = `v=${hmac(hmac(salted, "Server Key"), message).toString("base64")}`;
        const proof = Buffer.from(clientKey.map((byte, n) => byte ^ signature[n]));
        return Buffer.from(`${withoutProof},p=${proof.toString("base64")}`);
    }
}

class Peer {
    messages = new Queue();
    ends = new Queue();
    connected = new Queue();

    constructor(wanted) {
        const v5 = wanted.version === 5;
        const will = wanted.will && { ...wanted.will, properties: v5 ? packed(wanted.will.properties) : undefined };
        const properties = v5 ? packed(wanted.properties) : undefined;
        if (wanted.scram) {
            this.scram = new Scram(...wanted.scram);
            properties.authenticationMethod = "SCRAM-SHA-256";
            properties.authenticationData = this.scram.first();
        }
        this.client = mqtt.connect(wanted.url, {
            clientId: wanted.id,
            clean: wanted.clean,
            protocolVersion: wanted.version,
            keepalive: wanted.keepAlive ?? 60,
            username: wanted.user,
            password: wanted.password,
            will,
            properties,
            reconnectPeriod: 0,
            ca: wanted.cafile && readFileSync(wanted.cafile),
        });
        this.client.handleAuth = (packet, send) => {
            const authenticationData = this.scram.final(packet.properties.authenticationData);
            const answer = { authenticationMethod: "SCRAM-SHA-256", authenticationData };
            send(undefined, { cmd: "auth", reasonCode: 0x18, properties: answer });
        };
        this.client.on("connect", (packet) => this.connected.put({
            code: packet.reasonCode ?? packet.returnCode,
            present: packet.sessionPresent,
            properties: unpacked(packet.properties),
            knows: this.scram && String(packet.properties.authenticationData) === this.scram.expected,
        }));
        this.client.on("error", (error) => this.connected.put(
            Number.isInteger(error.code) ? { code: error.code, properties: {} } : { error: String(error) }));
        this.client.on("disconnect", (packet) => { this.code = packet.reasonCode; });
        this.client.on("close", () => this.ends.put({ code: this.code ?? null }));
        this.client.on("message", (topic, payload, packet) => this.messages.put({
            topic: packet.topic,
            payload: String(payload),
            qos: packet.qos,
            retain: packet.retain,
            properties: unpacked(packet.properties),
        }));
    }

    connect() {
        return this.connected.get();
    }

    async subscribe(wanted) {
        const options = { qos: wanted.qos, nl: wanted.noLocal, rap: wanted.retainAsPublished, rh: wanted.retainHandling };
        if (wanted.identifier) options.properties = { subscriptionIdentifier: wanted.identifier };
        return new Promise((resolve, reject) => {
            this.client.subscribe(wanted.filter, options, (error, granted, packet) => {
                if (packet) resolve({ codes: [...packet.granted] }); else reject(error);
            });
        });
    }

    async unsubscribe(wanted) {
        const packet = await this.client.unsubscribeAsync(wanted.filter);
        return { codes: packet.granted ?? [] };
    }

    publish({ topic, payload, qos, retain, properties }) {
        return new Promise((resolve, reject) => {
            this.client.publish(topic, payload, { qos, retain, properties: properties && packed(properties) }, (error) => {
                if (!error) resolve({ code: 0 });
                else if (Number.isInteger(error.code)) resolve({ code: error.code });
                else reject(error);
            });
        });
    }

    message() {
        return this.messages.get();
    }

    closed() {
        return this.ends.get();
    }

    async disconnect({ code }) {
        await this.client.endAsync(false, { reasonCode: code ?? 0 });
        return {};
    }

    async drop() {
        this.client.stream.destroy();
        await this.closed();
        return {};
    }
}

let peers = new Map();

async function answer(wanted) {
    if (wanted.do === "reset") {
        await Promise.all([...peers.values()].map((peer) => peer.client.endAsync(true)));
        peers = new Map();
        return {};
    }
    if (wanted.do === "connect") peers.set(wanted.peer, new Peer(wanted));
    return peers.get(wanted.peer)[wanted.do](wanted);
}

process.stdout.write(`${JSON.stringify({ library: `mqtt.js ${load("mqtt/package.json").version}` })}\n`);
for await (const line of createInterface({ input: process.stdin })) {
    let late;
    const patience = new Promise((resolve) => { late = setTimeout(resolve, PATIENCE, { error: "not in time" }); });
    const found = await Promise.race([answer(JSON.parse(line)).catch((error) => ({ error: String(error.stack) })), patience]);
    clearTimeout(late);
    process.stdout.write(`${JSON.stringify(found)}\n`);
}
process.exit(0);
