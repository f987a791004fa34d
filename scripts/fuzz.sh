#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (default 5s; 60s, 100000x, …). A short run is mostly start-up: as many targets run
# at a time as there are processors, with one worker each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fuzztime=${FUZZTIME:-5s}

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# Each line: package and target. They are found in the text: `go test -list` would build every test of the module, and run each TestMain.
targets=$(go list -f '{{range .TestGoFiles}}{{$.ImportPath}} {{$.Dir}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$.ImportPath}} {{$.Dir}}/{{.}}{{"\n"}}{{end}}' ./... |
    while read -r package file; do
        [ -z "$package" ] || sed -n "s|^func \(Fuzz[A-Z0-9_][A-Za-z0-9_]*\)(.*|$package \1|p" "$file"
    done)
[ -n "$targets" ] || { echo "no fuzz target found" >&2; exit 1; }

# fuzz PACKAGE TARGET LOG runs a target. A pattern that matches none is a success to `go test`, and a failure here.
fuzz() { go test -run '^$' -fuzz "^$2\$" -fuzztime "$fuzztime" -parallel 1 "$1" </dev/null >"$3" 2>&1 && grep -q '^fuzz: elapsed' "$3"; }

# run_target PACKAGE TARGET prints what a target said as one piece, and takes down a failure for the end of the output.
run_target() {
    local log="$logs/$2" status=0
    fuzz "$1" "$2" "$log" || status=1
    # At the end of its time the fuzzing engine of Go before 1.27 can take its own deadline for a failure (go.dev/issue/75804). That
    # leaves no failing input; it gets one more try, and nothing else does.
    if [ "$status" -ne 0 ] && grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; then
        echo "--- $1 $2: once more: the fuzzing engine ran into its own deadline, and no input failed"
        status=0
        fuzz "$1" "$2" "$log" || status=1
    fi
    printf -- '--- %s %s (%s)\n%s\n' "$1" "$2" "$fuzztime" "$(cat "$log")"
    [ "$status" -eq 0 ] && return
    echo "fuzz target $2 of $1 failed; the input is under its testdata/fuzz" >&2
    if [ -n "${TEST_STEPS_FAILURES:-}" ]; then
        { echo "FAILED $1: $2"; grep -vE '^fuzz: (elapsed|minimizing)' "$log" | tail -n 14 | sed 's/^/    /'; } >>"$TEST_STEPS_FAILURES"
    fi
    return 1
}

export -f fuzz run_target
export logs fuzztime
xargs -L 1 -P "$(getconf _NPROCESSORS_ONLN)" bash -c 'run_target "$@"' run_target <<<"$targets"
echo "$(wc -l <<<"$targets") fuzz targets ran"
