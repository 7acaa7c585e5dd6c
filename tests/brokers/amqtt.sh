#!/usr/bin/env bash
# aMQTT, the broker for Python's asyncio, from PyPI into an environment of its own. Anybody may do anything.
. "$(dirname "$0")/place.sh"
release=0.12.1

install() {
    [ -x "$place/venv/bin/amqtt" ] && return
    python3 -m venv "$place/venv" >&2 2>/dev/null || absent "python3 has no venv"
    "$place/venv/bin/pip" install --quiet "amqtt==$release" >&2 || absent "pip install failed"
}

version() {
    [ -x "$place/venv/bin/amqtt" ] || absent "not installed"
    "$place/venv/bin/python" -c "from importlib.metadata import version; print('amqtt', version('amqtt'))"
}

run() {
    cat >"$place/amqtt.yaml" <<CONFIG
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:$1
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
CONFIG
    exec "$place/venv/bin/amqtt" -c "$place/amqtt.yaml"
}

main "$@"
