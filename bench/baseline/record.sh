#!/usr/bin/env bash
# Records a baseline, bench/baseline/NAME.txt, with a description of the machine: bench/baseline/record.sh NAME
# It refuses on a busy machine: if the load average over one minute is more than MAXLOAD (default 1.5).
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly out=bench/baseline/$1.txt command="go test -run '^\$' -bench . -timeout 30m ./bench ./engine"

read -r load _ </proc/loadavg
if awk -v load="$load" -v max="${MAXLOAD:-1.5}" 'BEGIN { exit load < max }'; then
    echo "record.sh: the load average is $load, so other programs are running: stop them, or wait" >&2
    exit 1
fi
commit=$(git rev-parse HEAD)
[ -z "$(git status --porcelain)" ] || commit+=" with changes that are not committed"
result=$(mktemp)
trap 'rm -f "$result"' EXIT
{
    echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, $(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)"
    echo "kernel: $(uname -sr)"
    echo "go-version: $(go env GOVERSION)"
    echo "commit: $commit"
    echo "command: $command"
    echo "date: $(date -u +%F)"
    echo "load-at-start: $(cut -d' ' -f1-3 /proc/loadavg)"
    eval "$command"
    echo "load-at-end: $(cut -d' ' -f1-3 /proc/loadavg)"
} | tee "$result"
cp "$result" "$out" # only a complete run
