#!/usr/bin/env bash
# ejabberd with mod_mqtt as Debian has it. Its data, its log and its own epmd are below /tmp, on loopback;
# anybody may log in and do anything.
. "$(dirname "$0")/place.sh"

install() {
    debian ejabberd
}

version() {
    dpkg -s ejabberd >/dev/null 2>&1 || absent "not installed"
    echo "ejabberd $(dpkg-query -W -f '${Version}' ejabberd | sed 's/-.*//')"
}

run() {
    local data
    data=$(mktemp -d /tmp/mqttlab-ejabberd.XXXXXX)
    cat >"$data/ejabberd.yml" <<CONFIG
hosts: [localhost]
loglevel: warning
auth_method: [anonymous]
anonymous_protocol: login_anon
allow_multiple_connections: true
listen:
  - port: $1
    ip: "127.0.0.1"
    module: mod_mqtt
    backlog: 1000
modules:
  mod_mqtt: {}
CONFIG
    export HOME=$data ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT EJABBERD_CONFIG_PATH=$data/ejabberd.yml
    ERL_EPMD_PORT=$(free_port)
    export EJABBERD_LOG_PATH=$data/ejabberd.log
    epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" &
    local epmd=$! server=
    trap 'kill $server $epmd 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$data"' EXIT
    trap 'exit 0' TERM INT
    ERL_LIBS=/usr/lib/$(uname -m)-linux-gnu erl -noinput -sname mqttlab-ejabberd@localhost \
        -kernel inet_dist_use_interface '{127,0,0,1}' -mnesia dir "\"$data/mnesia\"" -s ejabberd &
    server=$!
    wait $server
}

main "$@"
