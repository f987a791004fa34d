#!/usr/bin/env bash
# Installs what the tests need beside Go and git: Debian packages (only those that are missing) and npm packages, or one kind alone:
# scripts/install.sh [debian|npm]. With FANFARE_LONG=1 it installs what the long form of the tests needs, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# fail WHAT TO DO
fail() {
    printf 'scripts/install.sh: %s\n' "$@" >&2
    exit 1
}

# The race detector uses cgo: it needs a compiler and the C library's headers.
compiles_c() { printf '#include <stdlib.h>\n' | cc -E - >/dev/null 2>&1; }

# One of the servers of bench/peers is written in C, with OpenSSL.
has_openssl_headers() { printf '#include <openssl/ssl.h>\n' | cc -E - >/dev/null 2>&1; }

# missing_packages prints the Debian packages that have to be installed, one a line.
missing_packages() {
    local program package
    while read -r program package; do
        # nginx and haproxy are in /usr/sbin, which is not in everybody's PATH.
        PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || echo "$package"
    done <<'LIST'
chromium chromium
node nodejs
npm npm
nginx nginx
haproxy haproxy
caddy caddy
varnishd varnish
firefox-esr firefox-esr
systemd-analyze systemd
curl curl
jq jq
openssl openssl
python3 python3
wget wget
redis-server redis-server
LIST
    compiles_c || printf '%s\n' gcc libc6-dev
    has_openssl_headers || echo libssl-dev
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

# as_root COMMAND…
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n -- "$@"
    fi
}

install_debian_packages() {
    local packages
    mapfile -t packages < <(missing_packages)
    if [ "${#packages[@]}" -eq 0 ]; then
        echo "Debian packages: all there"
        return
    fi
    echo "Debian packages to install: ${packages[*]}"
    command -v apt-get >/dev/null ||
        fail "this is not a Debian system (no apt-get): install what belongs to these packages by hand: ${packages[*]}"
    if [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; then
        fail "apt-get needs root, and sudo is absent or asks for a password. As root, once:" \
            "  apt-get update && apt-get install --no-install-recommends ${packages[*]}"
    fi

    # The tests start the proxies themselves, on free ports: the installation must not start them. A policy that is already there
    # stays.
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy"
        # shellcheck disable=SC2064 # the path is meant as it is now
        trap "as_root rm -f $policy" EXIT
    fi
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
    as_root "${apt[@]}" update
    as_root "${apt[@]}" install --no-install-recommends "${packages[@]}"
}

# npm_folders have packages of their own: the clients of the server's tests and of docs/clients.md, the Egg plugin's tools, an
# application with each version of Egg, and other versions of Node.js to run these with. The long form has one Egg more.
npm_folders=(node ../docs/clients/node ../egg ../egg/test/egg2 ../egg/test/egg4 ../egg/test/node)
[ -z "${FANFARE_LONG:-}" ] || npm_folders+=(../egg/test/egg3)
readonly npm_folders

install_npm_packages() {
    local major folder
    major=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
    [ "$major" -ge 18 ] || fail "node is $(node --version); the EventSource client of the tests and Egg 4 need 18 or later"
    for folder in "${npm_folders[@]}"; do
        # npm writes this copy of the lock file when an installation is complete.
        if [ "$folder/node_modules/.package-lock.json" -nt "$folder/package-lock.json" ]; then
            echo "npm packages of $folder: all there"
            continue
        fi
        # No package may run scripts of its own; none needs to.
        (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier)
    done
}

case ${1:-all} in
all)
    install_debian_packages
    install_npm_packages
    ;;
debian) install_debian_packages ;;
npm) install_npm_packages ;;
*) fail "unknown argument \"$1\": write debian, npm or nothing" ;;
esac
