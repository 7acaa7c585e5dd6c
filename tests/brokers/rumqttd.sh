#!/usr/bin/env bash
# rumqttd, the broker of the rumqtt project, built by cargo install. MQTT 3.1.1 and 5.0 have listeners of
# their own: PORT speaks 3.1.1, RUMQTTD_V5_PORT 5.0 where it is set.
. "$(dirname "$0")/place.sh"
# Without --locked: the metrics crate of its lock file is refused by compilers of today.
release=0.20.0

install() {
    [ -x "$place/bin/rumqttd" ] && return
    command -v cargo >/dev/null || absent "there is no cargo"
    nice cargo install --quiet rumqttd --version $release --root "$place" >&2 || absent "cargo install failed"
}

version() {
    [ -x "$place/bin/rumqttd" ] || absent "not installed"
    echo "rumqttd $release"
}

listener() {
    cat <<CONFIG
[$1.1]
name = "$1"
listen = "127.0.0.1:$2"
next_connection_delay_ms = 1
    [$1.1.connections]
    connection_timeout_ms = 60000
    max_payload_size = 1048576
    max_inflight_count = 100
    dynamic_filters = true

CONFIG
}

run() {
    {
        cat <<CONFIG
id = 0

[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

CONFIG
        listener v4 "$1"
        [ -z "${RUMQTTD_V5_PORT:-}" ] || listener v5 "$RUMQTTD_V5_PORT"
    } >"$place/rumqttd.toml"
    exec "$place/bin/rumqttd" -c "$place/rumqttd.toml"
}

main "$@"
