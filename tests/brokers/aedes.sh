#!/usr/bin/env bash
# aedes, the broker for Node.js, from npm: with its own memory persistence and nothing else.
. "$(dirname "$0")/place.sh"
release=1.2.0

install() {
    command -v npm >/dev/null || absent "there is no npm"
    [ -d "$place/node_modules/aedes" ] ||
        npm install --silent --no-audit --no-fund --prefix "$place" "aedes@$release" >&2 || absent "npm install failed"
}

version() {
    [ -d "$place/node_modules/aedes" ] || absent "not installed"
    node -p "'aedes ' + require('$place/node_modules/aedes/package.json').version"
}

run() {
    cd "$place"
    exec node -e "
        const aedes = require('aedes');
        const start = aedes.Aedes?.createBroker ? aedes.Aedes.createBroker() : Promise.resolve(new aedes.Aedes());
        start.then(broker => require('net').createServer(broker.handle).listen($1, '127.0.0.1'));"
}

main "$@"
