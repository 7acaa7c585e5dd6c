#!/usr/bin/env bash
# RabbitMQ with its MQTT plugin as Debian has it. Its data, its log and its own epmd are below target/, on
# loopback; whoever gives no user name is guest.
. "$(dirname "$0")/place.sh"

install() {
    debian rabbitmq-server
}

version() {
    dpkg -s rabbitmq-server >/dev/null 2>&1 || absent "not installed"
    echo "rabbitmq $(dpkg-query -W -f '${Version}' rabbitmq-server | sed 's/-.*//')"
}

run() {
    local data
    data=$(mktemp -d /tmp/mqttlab-rabbitmq.XXXXXX)
    echo '[rabbitmq_mqtt].' >"$data/enabled_plugins"
    cat >"$data/rabbitmq.conf" <<CONFIG
listeners.tcp = none
mqtt.listeners.tcp.default = 127.0.0.1:$1
mqtt.allow_anonymous = true
CONFIG
    export HOME=$data ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT
    ERL_EPMD_PORT=$(free_port)
    export RABBITMQ_NODENAME=mqttlab@localhost RABBITMQ_DIST_PORT RABBITMQ_CONFIG_FILE=$data/rabbitmq.conf
    RABBITMQ_DIST_PORT=$(free_port)
    export RABBITMQ_MNESIA_BASE=$data/mnesia RABBITMQ_LOG_BASE=$data/log RABBITMQ_LOGS=-
    export RABBITMQ_ENABLED_PLUGINS_FILE=$data/enabled_plugins RABBITMQ_PID_FILE=$data/pid
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
    epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" &
    local epmd=$! server=
    trap 'kill $server $epmd 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$data"' EXIT
    trap 'exit 0' TERM INT
    /usr/lib/rabbitmq/bin/rabbitmq-server &
    server=$!
    wait $server
}

main "$@"
