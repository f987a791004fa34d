#!/usr/bin/env bash
# Breaks fleets of servers and brokers in every way that chaos/ knows, with up to 54,000 subscribers that account for every event:
# scripts/chaos.sh [ARGUMENT OF go test…], such as -run TestReplicas
#
# The last lines are the table of docs/reliability.md and PASS, with exit status 0, or what went wrong and FAIL, with another. It
# needs root for network namespaces and for file systems in files, takes up to an hour, and ends by itself. What it starts listens
# on loopback or in namespaces of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export FANFARE_CHAOS=1 GOFLAGS=-buildvcs=false
ulimit -S -n "$(ulimit -H -n)" || true
[ "$(id -u)" -eq 0 ] || { echo "scripts/chaos.sh needs root: it makes network namespaces and mounts file systems" >&2; exit 1; }
exec go test -count=1 -v -timeout 2h -parallel 2 "$@" ./chaos
