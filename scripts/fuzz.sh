#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (default 5s; 60s, 100000x, …). Each package is built once. As many targets run at
# a time as there are processors, with one worker each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fuzztime=${FUZZTIME:-5s}

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# Each line: package, its folder, target. They are found in the text: `go test -list` would build every test of the module, and run
# each TestMain.
targets=$(go list -f '{{range .TestGoFiles}}{{$.ImportPath}} {{$.Dir}} {{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$.ImportPath}} {{$.Dir}} {{.}}{{"\n"}}{{end}}' ./... |
    while read -r package folder file; do
        [ -z "$package" ] || sed -n "s|^func \(Fuzz[A-Z0-9_][A-Za-z0-9_]*\)(.*|$package $folder \1|p" "$folder/$file"
    done)
[ -n "$targets" ] || { echo "no fuzz target found" >&2; exit 1; }

# binary_of PACKAGE is where the tests of a package are built.
binary_of() { echo "$logs/${1//\//_}.test"; }

# failed PACKAGE WHAT LOG takes down a failure for the end of the output.
failed() {
    [ -n "${TEST_STEPS_FAILURES:-}" ] || return 0
    { echo "FAILED $1: $2"; grep -vE '^fuzz: (elapsed|minimizing)' "$3" | tail -n 14 | sed 's/^/    /'; } >>"$TEST_STEPS_FAILURES"
}

build() {
    local binary log
    binary=$(binary_of "$1")
    log=$binary.log
    go test -c -fuzz=. -o "$binary" "$1" </dev/null >"$log" 2>&1 && return
    printf -- '--- %s\n%s\n' "$1" "$(cat "$log")"
    failed "$1" build "$log"
    return 1
}

# fuzz PACKAGE FOLDER TARGET LOG runs a target. A pattern that matches none is a success to the program, and a failure here.
fuzz() {
    (cd "$2" && "$(binary_of "$1")" -test.run '^$' -test.fuzz "^$3\$" -test.fuzztime "$fuzztime" -test.parallel 1 \
        -test.fuzzcachedir "$cache/$1" </dev/null >"$4" 2>&1) && grep -q '^fuzz: elapsed' "$4"
}

# run_target PACKAGE FOLDER TARGET prints what a target said as one piece.
run_target() {
    local log="$logs/$3" status=0
    fuzz "$@" "$log" || status=1
    # At the end of its time the fuzzing engine of Go before 1.27 can take its own deadline for a failure (go.dev/issue/75804). That
    # leaves no failing input; it gets one more try, and nothing else does.
    if [ "$status" -ne 0 ] && grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; then
        echo "--- $1 $3: once more: the fuzzing engine ran into its own deadline, and no input failed"
        status=0
        fuzz "$@" "$log" || status=1
    fi
    printf -- '--- %s %s (%s)\n%s\n' "$1" "$3" "$fuzztime" "$(cat "$log")"
    [ "$status" -eq 0 ] && return
    echo "fuzz target $3 of $1 failed; the input is under its testdata/fuzz" >&2
    failed "$1" "$3" "$log"
    return 1
}

cache=$(go env GOCACHE)/fuzz
export -f binary_of failed build fuzz run_target
export logs fuzztime cache
at_once=$(getconf _NPROCESSORS_ONLN)
cut -d' ' -f1 <<<"$targets" | sort -u | xargs -L 1 -P "$at_once" bash -c 'build "$@"' build
xargs -L 1 -P "$at_once" bash -c 'run_target "$@"' run_target <<<"$targets"
echo "$(wc -l <<<"$targets") fuzz targets ran"
