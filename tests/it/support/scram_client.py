"""A client of MQTT 5 that proves its password by SCRAM-SHA-256, written from RFC 5802 and the standard alone.

Usage: scram_client.py PORT USER PASSWORD [HOW]
HOW: again (proves itself again on the live connection), asked (waits to be asked who it is)
Prints what happened, a line each. Uses nothing but the standard library.
"""
import base64
import hashlib
import hmac
import os
import socket
import stringprep
import struct
import sys
import unicodedata

METHOD, DATA = 0x15, 0x16


def prepared(password):
    text = "".join(
        " " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c)
    )
    return unicodedata.normalize("NFKC", text).encode()


def variable(number):
    out = b""
    while True:
        number, low = divmod(number, 128)
        out += bytes([low | (0x80 if number else 0)])
        if not number:
            return out


def field(data):
    return struct.pack(">H", len(data)) + data


def properties(method=None, data=None):
    out = b""
    if method is not None:
        out += bytes([METHOD]) + field(method)
    if data is not None:
        out += bytes([DATA]) + field(data)
    return variable(len(out)) + out


def packet(first, body):
    return bytes([first]) + variable(len(body)) + body


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def receive(self):
        first = self.exactly(1)[0]
        length, shift = 0, 0
        while True:
            byte = self.exactly(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return first >> 4, self.exactly(length)


def read_properties(data):
    """Method and data among the properties that a CONNACK or AUTH has."""
    length, found, at = data[0], {}, 1
    sizes = {0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}
    if length & 0x80:
        length, at = (length & 0x7F) | data[1] << 7, 2
    end = at + length
    while at < end:
        kind = data[at]
        size = sizes.get(kind)
        if size is None:
            (size,) = struct.unpack_from(">H", data, at + 1)
            found[kind] = data[at + 3 : at + 3 + size]
            size += 2
        at += 1 + size
    return found


class Scram:
    def __init__(self, user, password):
        self.password = prepared(password)
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        name = user.replace("=", "=3D").replace(",", "=2C")
        self.bare = f"n={name},r={self.nonce}"

    def first(self):
        return ("n,," + self.bare).encode()

    def final(self, challenge):
        challenge = challenge.decode()
        found = dict(part.split("=", 1) for part in challenge.split(","))
        assert found["r"].startswith(self.nonce) and len(found["r"]) > len(self.nonce) + 16
        salt, rounds = base64.b64decode(found["s"]), int(found["i"])
        salted = hashlib.pbkdf2_hmac("sha256", self.password, salt, rounds)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        stored_key = hashlib.sha256(client_key).digest()
        without_proof = f"c=biws,r={found['r']}"
        message = f"{self.bare},{challenge},{without_proof}".encode()
        signature = hmac.digest(stored_key, message, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self.expected = b"v=" + base64.b64encode(hmac.digest(server_key, message, "sha256"))
        return f"{without_proof},p={proof}".encode()


def main():
    port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    how = sys.argv[4] if len(sys.argv) > 4 else ""
    connection = Connection(port)
    scram = Scram(user, password)
    first = None if how == "asked" else scram.first()
    head = field(b"MQTT") + b"\x05\x02\x00\x3c" + properties(METHOD_NAME, first)
    connection.socket.sendall(packet(0x10, head + field(b"scram")))

    def answer(code, data):
        connection.socket.sendall(packet(0xF0, bytes([code]) + properties(METHOD_NAME, data)))

    def asked():
        kind, body = connection.receive()
        assert kind == 15 and body[0] == 0x18, (kind, body)
        found = read_properties(body[1:])
        assert found[METHOD] == METHOD_NAME, found
        return found.get(DATA)

    if how == "asked":
        assert asked() is None
        answer(0x18, scram.first())
    answer(0x18, scram.final(asked()))
    kind, body = connection.receive()
    assert kind == 2, kind
    print(f"CONNACK 0x{body[1]:02x}")
    if body[1] == 0:
        found = read_properties(body[2:])
        assert found[METHOD] == METHOD_NAME and found[DATA] == scram.expected, found
        print("the server knows the password too")
        if how == "again":
            scram = Scram(user, password)
            answer(0x19, scram.first())
            answer(0x18, scram.final(asked()))
            kind, body = connection.receive()
            assert kind == 15 and body[0] == 0x00, (kind, body)
            assert read_properties(body[1:])[DATA] == scram.expected
            print("again")
        # Larger than what may come before CONNACK.
        payload = b"x" * 300_000
        connection.socket.sendall(packet(0x32, field(b"t") + b"\x00\x01\x00" + payload))
        kind, body = connection.receive()
        assert kind == 4, kind
        print("published")
    else:
        try:
            connection.receive()
        except EOFError:
            print("closed")


METHOD_NAME = b"SCRAM-SHA-256"
main()
