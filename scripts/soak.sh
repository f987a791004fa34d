#!/usr/bin/env bash
# Runs the server with a thousand subscribers and random faults, and accounts for each event: scripts/soak.sh [DURATION]
#
# DURATION is 10m unless it is given, in Go's form (30s, 2h). The last lines are a table of what happened and PASS, with exit status
# 0, or what went wrong and FAIL, with another. docs/reliability.md says what is tried. Everything listens on free loopback ports.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export FANFARE_SOAK=${1:-10m} GOFLAGS=-buildvcs=false
ulimit -S -n "$(ulimit -H -n)" || true
go test -count=1 -v -timeout 0 -run '^TestSoak$' ./abuse
