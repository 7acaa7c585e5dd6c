# Read by the other scripts: where brokers are kept, and how they say that they cannot be had.
#
#   NAME.sh PORT        installs NAME where it is missing and runs it on 127.0.0.1:PORT, in the foreground
#   NAME.sh --install   installs it
#   NAME.sh --version   prints name and version, for reports; installs nothing
#
# Everything lies below target/brokers/NAME. Exit 77: cannot be had on this machine.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
name=$(basename "$0" .sh)
place=$root/target/brokers/$name
mkdir -p "$place"

absent() {
    echo "$name cannot be had here: $*" >&2
    exit 77
}

# Debian packages, without starting the services that they bring.
debian() {
    dpkg -s "$@" >/dev/null 2>&1 && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || absent "install the Debian packages $*"
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        made=1
    fi
    DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 || made=${made:+2}
    [ -z "$made" ] || rm -f $policy
    dpkg -s "$@" >/dev/null 2>&1 || absent "apt-get could not install $*"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Calls install, version or run, which the script defines.
main() {
    case ${1:-} in
        --install) install ;;
        --version) version ;;
        '' | -*) echo "usage: $0 PORT | --install | --version" >&2; exit 2 ;;
        *) install && run "$1" ;;
    esac
}
