#!/usr/bin/env bash
# Compares the benchmarks of two revisions: bench/compare.sh BASE [HEAD]
#
# It builds the test binary of each revision (as committed) and runs them in turn, so that other load on the machine affects both.
# Then it prints benchstat's table. HEAD is the revision HEAD by default. Environment:
#   BENCH      which benchmarks, a regular expression for go test -bench (default .)
#   COUNT      rounds (default 10; benchstat needs 6 or more)
#   BENCHTIME  time for each benchmark and round, for go test -benchtime (default 300ms)
#   PKG        the package (default ./bench; ./engine has a few more)
set -euo pipefail

readonly benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
cd "$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)"
# commit REVISION
commit() {
    git rev-parse --quiet --verify "$1^{commit}" || { echo "compare.sh: $1 is not a commit of this repository: give a branch, a tag or a commit" >&2; exit 2; }
}
base=$(commit "$1")
head=$(commit "${2:-HEAD}")
bench=${BENCH:-.} count=${COUNT:-10} benchtime=${BENCHTIME:-300ms} pkg=${PKG:-./bench}

tmp=$(mktemp -d)
# shellcheck disable=SC2329 # called by the trap
finish() {
    for side in base head; do
        git worktree remove --force "$tmp/$side" 2>/dev/null || true
    done
    rm -rf "$tmp"
}
trap finish EXIT

# build SIDE REVISION
build() {
    git worktree add --quiet --detach "$tmp/$1" "$2"
    [ -d "$tmp/$1/$pkg" ] || { echo "compare.sh: revision ${2:0:7} has no folder $pkg: set PKG to another" >&2; exit 1; }
    (cd "$tmp/$1" && go test -c -o "$tmp/$1.test" "$pkg")
    [ -x "$tmp/$1.test" ] || { echo "compare.sh: revision ${2:0:7} has no tests in $pkg" >&2; exit 1; }
}

# measure SIDE runs all benchmarks once, in the package's folder, and adds to the side's results.
measure() {
    (cd "$tmp/$1/$pkg" && "$tmp/$1.test" -test.run '^$' -test.bench "$bench" -test.benchtime "$benchtime") >>"$tmp/$1.txt" ||
        { tail -n 20 "$tmp/$1.txt" >&2; exit 1; }
}

build base "$base"
build head "$head"
for ((round = 1; round <= count; round++)); do
    printf 'round %d of %d, load %s\n' "$round" "$count" "$(uptime | sed 's/.*average[s]*: *//')" >&2
    if ((round % 2)); then
        measure base
        measure head
    else # take turns, because the second one finds a warmer machine
        measure head
        measure base
    fi
done
grep -q '^Benchmark' "$tmp/base.txt" "$tmp/head.txt" || { echo "compare.sh: no benchmark of $pkg matches $bench" >&2; exit 1; }
go run "$benchstat" "base ${base:0:7}=$tmp/base.txt" "head ${head:0:7}=$tmp/head.txt"
