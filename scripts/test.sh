#!/usr/bin/env bash
# Installs what the tests need and runs every check there is: scripts/test.sh
#
# Needs Go and git, and root or sudo where a Debian package is missing. FUZZTIME (default 10s) is the time for each
# fuzz target. Everything listens on free loopback ports, and nothing stays running.
set -euo pipefail
exec </dev/null # nothing may wait for a person
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
readonly govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0

# The same everywhere, whatever the environment or `go env -w` says. No build needs the commit, and asking git for it
# fails in a checkout that belongs to another user.
export GOFLAGS=-buildvcs=false

step=start
steps=0
notes=()

# run STEP COMMAND… prints what it does; `set -e` and the trap below end the script when it fails.
run() {
    local begin=$SECONDS
    step=$1
    shift
    printf '\n=== %s\n' "$step"
    "$@"
    steps=$((steps + 1))
    printf '=== %s: ok, %d s\n' "$step" $((SECONDS - begin))
}

# shellcheck disable=SC2329 # called by the trap
finish() {
    local status=$?
    local minutes=$((SECONDS / 60)) seconds=$((SECONDS % 60))
    echo
    for note in "${notes[@]}"; do echo "NOTE: $note"; done
    if [ "$status" -eq 0 ]; then
        printf 'PASS: all %d steps of scripts/test.sh in %d min %d s\n' "$steps" "$minutes" "$seconds"
    else
        printf 'FAIL: step "%s" of scripts/test.sh, exit status %d, after %d min %d s\n' "$step" "$status" "$minutes" "$seconds"
    fi
}
trap finish EXIT

raise_open_files() {
    # Tests hold thousands of sockets. The soft limit is often 1024; the hard one may be as low as 20,000 in a container.
    ulimit -S -n "$(ulimit -H -n)" || true
    echo "open files: $(ulimit -S -n)"
}

check_gofmt() {
    local unformatted
    unformatted=$("$(go env GOROOT)/bin/gofmt" -l .)
    [ -z "$unformatted" ] || { printf 'not formatted (gofmt -w):\n%s\n' "$unformatted" >&2; return 1; }
}

check_vulnerabilities() {
    local log status=0
    log=$(mktemp)
    go run "$govulncheck" ./... >"$log" 2>&1 || status=$?
    cat "$log"
    # Without its database, or where it can't be fetched itself, it can't tell; that isn't a finding.
    if [ "$status" -ne 0 ] && ! grep -q '^Vulnerability #' "$log" &&
        grep -qE 'fetching vulnerabilities|vuln\.go\.dev|dial tcp|golang\.org/x/vuln@' "$log"; then
        notes+=("vulnerabilities were NOT checked: govulncheck or its database can't be reached from here")
        echo "${notes[-1]}"
        status=0
    fi
    rm -f "$log"
    return "$status"
}

test_with_race_detector() {
    # Compiled with every core; then one package's tests at a time, because some of them measure.
    go build -race ./...
    go test -race -count=1 -p 1 -timeout 20m ./...
}

# Tests of allocations, stacks and memory are built without the race detector only, which changes all three.
test_without_race_detector() {
    local packages
    packages=$(go list -f '{{.Dir}}' ./... | while read -r dir; do
        if grep -qsE '^//go:build .*!race' "$dir"/*.go; then echo "$dir"; fi
    done) # of this module, not of those inside it
    [ -n "$packages" ] || { echo "no package has a file for it"; return; }
    # shellcheck disable=SC2086 # one word for each package
    go test -count=1 -p 1 -timeout 20m $packages
}

# The comparison with other servers is a module of its own: its dependencies are not the server's.
test_peers() {
    cd bench/peers
    go vet ./...
    go test -count=1 -p 1 -timeout 10m ./...
    cd ../..
}

# The Egg plugin against the server: three versions of Egg, Redis, Chromium. It builds the server itself.
test_egg_plugin() {
    cd egg
    npm test --no-update-notifier
    cd ..
}

# So is k6 with event streams: k6 is AGPL-3.0, and larger than everything else together. The tests of its scripts build the
# binary, start a server and run each script briefly.
test_k6() {
    cd loadtest
    go vet ./...
    go run "$staticcheck" ./...
    go test -race -count=1 -timeout 10m ./sse
    go test -count=1 -p 1 -timeout 10m ./...
    cd ..
}

run "open files" raise_open_files
run "packages" scripts/install.sh
run "modules" go mod download
run "gofmt" check_gofmt
run "go vet" go vet ./...
run "import arrows" go test -count=1 .
run "staticcheck" go run "$staticcheck" ./...
run "vulnerabilities" check_vulnerabilities
run "tests with the race detector" test_with_race_detector
run "tests without the race detector" test_without_race_detector
run "peers" test_peers
run "egg plugin" test_egg_plugin
run "k6" test_k6
run "fuzz targets" scripts/fuzz.sh
