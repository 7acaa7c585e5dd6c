#!/usr/bin/env bash
# Probes and blesses brokers that mqttlab does not start itself: NAME.sh runs each on a free port of loopback.
# What is found goes to fixtures/profiles and fixtures/baselines.
#
#   tests/brokers/bless.sh aedes amqtt …       the program is $MQTTLAB, else mqttlab of PATH
set -euo pipefail
cd "$(dirname "$0")/../.."
mqttlab=${MQTTLAB:-mqttlab}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

bless() {
    local script=tests/brokers/$1.sh port version file account=()
    "$script" --install || { [ $? = 77 ] && return 0; return 1; }
    version=$("$script" --version)
    file=${version// /-}.json
    port=$(free_port)
    "$script" "$port" >"target/brokers/$1/log" 2>&1 &
    broker=$!
    trap 'kill $broker 2>/dev/null || true' EXIT
    for _ in $(seq 1200); do
        (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break
        sleep 0.1
    done
    # ejabberd lets nobody in without a name.
    if [ "$1" = ejabberd ]; then
        echo '{"accounts": {"mqttlab": "mqttlab"}, "control": "mqttlab"}' >target/brokers/ejabberd/account.json
        account=(--profile target/brokers/ejabberd/account.json)
    fi
    "$mqttlab" probe "mqtt://127.0.0.1:$port" "${account[@]}" --name "$version" --write "fixtures/profiles/$file"
    # The port of this run says nothing.
    sed -i "s|mqttlab probe mqtt://127.0.0.1:[0-9]*|mqttlab probe, tests/brokers/$1.sh|" "fixtures/profiles/$file"
    "$mqttlab" bless scenarios/conformance --broker "mqtt://127.0.0.1:$port" \
        --profile "fixtures/profiles/$file" --write "fixtures/baselines/$file" >"target/brokers/$1/bless.txt" 2>&1 ||
        [ $? = 1 ]
    tail -n 1 "target/brokers/$1/bless.txt"
    kill $broker
    wait $broker 2>/dev/null || true
    trap - EXIT
}

for name in "$@"; do
    bless "$name"
done
