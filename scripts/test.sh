#!/usr/bin/env bash
# Installs what the tests need and runs every check there is: scripts/test.sh [--long]
#
# Its steps, what runs side by side, and how to run one test alone: docs/testing.md.
#
#   --long   adds the long forms of the tests (FANFARE_LONG=1 for them) and gives each fuzz target 60 s; some hours
#   --help   prints this
#
# Needs Go and git, and root or sudo where a Debian package is missing. FUZZTIME (5s, or 60s with --long) is the time
# for each fuzz target. Everything listens on free loopback ports, and nothing stays running. The last line is PASS with
# exit status 0, or FAIL with another.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,/^set /{s/^# \{0,1\}//p;}' scripts/test.sh; }

timeout=1h # for the tests of one package: a busy machine takes many times as long as a quiet one
unset FANFARE_LONG
for argument in "$@"; do
    case $argument in
    --long)
        export FANFARE_LONG=1 FUZZTIME=${FUZZTIME:-60s}
        timeout=4h
        ;;
    --help | -h)
        usage
        exit 0
        ;;
    *)
        printf 'scripts/test.sh: unknown argument "%s"\n' "$argument" >&2
        usage >&2
        exit 2
        ;;
    esac
done

. scripts/steps.sh

readonly staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
readonly govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0

# The same everywhere, whatever the environment or `go env -w` says. No build needs the commit, and git refuses to report it in a
# checkout that belongs to another user.
# `go test` vets nothing, because check_vet and the nested modules' `go vet ./...` do, with all of vet's checks.
export GOFLAGS='-buildvcs=false -vet=off'

# Tests hold thousands of sockets. The soft limit is often 1024; the hard one may be as low as 20,000 in a container.
ulimit -S -n "$(ulimit -H -n)" || true
echo "open files: $(ulimit -S -n)"

# It mostly waits for the network, and the static checks beside it need Go and a C compiler alone.
install_npm_packages() { scripts/install.sh npm; }

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
    # If it or its database cannot be fetched, it reports nothing; that is not a finding.
    if [ "$status" -ne 0 ] && ! grep -q '^Vulnerability #' "$log" &&
        grep -qE 'fetching vulnerabilities|vuln\.go\.dev|dial tcp|golang\.org/x/vuln@' "$log"; then
        note "vulnerabilities were NOT checked: govulncheck or its database can't be reached from here"
        status=0
    fi
    rm -f "$log"
    return "$status"
}

check_vet() {
    go vet ./...
    check_platforms
}

check_staticcheck() { go run "$staticcheck" ./...; }

# The other systems that the server supports (docs/operations.md). vet compiles for each. For Windows there is only a build: vet
# reads the tests, too, and they use what only Unix has.
check_platforms() {
    local platform
    for platform in linux/386 linux/arm64 darwin/arm64; do
        echo "$platform"
        GOOS=${platform%/*} GOARCH=${platform#*/} CGO_ENABLED=0 go vet ./engine ./transport/... ./cmd/fanfare
    done
    echo windows/amd64
    GOOS=windows GOARCH=amd64 CGO_ENABLED=0 go build -o /dev/null ./cmd/fanfare
}

# race_test PACKAGE... runs the tests of one package at a time: some hold thousands of sockets, or all the memory they may.
race_test() { go_test -race -count=1 -p 1 -timeout "$timeout" "$@"; }

# Lanes, so that one waits for its programs while another one computes.
test_race_libraries() {
    local packages
    packages=$(go list ./... | grep -vE "$of_programs" | grep -v '^fanfare/transport') # that waits for minutes, in a lane of its own
    # shellcheck disable=SC2086 # one word for each package
    race_test $packages
}
test_race_commands() { race_test ./cmd/...; }
test_race_transport() { race_test ./transport/...; }
readonly of_programs='^fanfare(/(abuse|chaos|cmd|deploy|docs|scripts)(/|$)|$)'

# These run the binary, as it is released, and have hardly any code of their own: the race detector would find races of attackers
# and readers only, for twice the processor time. In the long form it is in the binary that abuse attacks.
run_programs() {
    if [ -n "${FANFARE_LONG:-}" ]; then race_test "$@"; else go_test -count=1 -p 1 -timeout "$timeout" "$@"; fi
}
test_documents() { run_programs ./abuse/... ./deploy/... ./docs/... ./scripts/...; }
test_chaos() { run_programs ./chaos/...; }

# Tests of allocations, stacks, memory and delays depend on the race detector, which changes all of these. They run once more without
# it, and no others: scripts/without_race.sh says which. Packages with programs run the programs without it anyway.
test_without_race_detector() {
    local package tests packages=0
    while read -r package; do
        tests=$(scripts/without_race.sh ".${package#fanfare}")
        [ -n "$tests" ] || continue
        packages=$((packages + 1))
        go_test -count=1 -timeout "$timeout" -run "$tests" "$package" || return
    done < <(go list ./... | grep -vE "$of_programs")
    [ "$packages" -gt 0 ] || { echo "no package has a test for it, and some must have" >&2; return 1; }
}

# The tests of streams once more, over TLS: the same assertions, other bytes.
test_over_tls() { FANFARE_TLS=1 go_test -count=1 -timeout "$timeout" ./transport; }

# The comparison with other servers is a module of its own: its dependencies are not the server's.
test_peers() {
    cd bench/peers
    go vet ./...
    go_test -count=1 -p 1 -timeout "$timeout" ./...
}

# The Egg plugin with real applications, Redis, nginx and Chromium. It builds the server itself.
test_egg_plugin() {
    cd egg
    npm test --no-update-notifier
}

# k6 with event streams is a module of its own, too: k6 is AGPL-3.0, and larger than everything else together. The tests of its
# scripts build the binary, start a server and run each script briefly.
test_k6() {
    cd loadtest
    go vet ./...
    go run "$staticcheck" ./...
    go_test -race -count=1 -timeout "$timeout" ./sse
    go_test -count=1 -timeout "$timeout" -run "$(../scripts/without_race.sh ./sse)" ./sse
    # shellcheck disable=SC2046 # one word for each package
    go_test -count=1 -p 1 -timeout "$timeout" $(go list ./... | grep -v '/sse$')
}

# Other people's clients with the server, a module of their own: their dependencies are not the server's. One client of each kind
# runs; with --long all of them, and the proxies.
test_clients() {
    cd docs/clients
    go vet ./...
    go run "$staticcheck" ./...
    go_test -count=1 -timeout "$timeout" ./...
}

# The Helm chart and the compose file, with Helm's own engine and the types of their APIs: a module of its own.
test_manifests() {
    cd deploy/check
    go vet ./...
    go run "$staticcheck" ./...
    go_test -count=1 -timeout "$timeout" ./...
}

# These mostly wait, for processes to start and for time to pass, so they run beside the tests that compute.
test_programs() {
    (test_k6)
    (test_clients)
    (test_peers)
    (test_manifests)
}

step "packages: install what the tests need" scripts/install.sh debian
step "modules: download what go.sum pins" go mod download
step "gofmt" check_gofmt
step "import arrows, sizes and names of files" go_test -count=1 .
step "static checks: vet, the other systems, staticcheck, govulncheck; npm packages" side_by_side install_npm_packages check_vet check_staticcheck check_vulnerabilities
step "tests with the race detector; the Egg plugin; documents, attacks, chaos; k6, other people's clients, the peers, the manifests" side_by_side test_race_libraries test_race_transport test_race_commands test_chaos test_documents test_egg_plugin test_programs
step "tests of memory, stacks and allocations, without the race detector" test_without_race_detector
[ -z "${FANFARE_LONG:-}" ] || step "tests of streams over TLS" test_over_tls
step "fuzz targets" scripts/fuzz.sh

run_steps
verdict
