#!/usr/bin/env bash
# Prints a pattern for `go test -run`: the tests of a package that have to run without the race detector, too. It prints nothing if
# there are none: scripts/without_race.sh FOLDER
#
# These are the tests in files that are built only without it (//go:build !race), and in files that ask whether it is on
# (race.Enabled). If the code under test depends on it, these are all tests of the package.
set -euo pipefail
shopt -s nullglob
cd "$1"

tests=(*_test.go)
[ "${#tests[@]}" -gt 0 ] || exit 0
depends=() # test files that depend on the race detector
for file in *.go; do
    grep -qE '^//go:build .*!race|\brace\.Enabled\b' "$file" || continue
    case $file in
    *_test.go) depends+=("$file") ;;
    *)
        echo .
        exit
        ;;
    esac
done
[ "${#depends[@]}" -gt 0 ] || exit 0
names=$(sed -n 's/^func \(Test[A-Z0-9_][A-Za-z0-9_]*\)(t \*testing\.T).*/\1/p' "${depends[@]}" | paste -sd'|')
[ -z "$names" ] || echo "^($names)\$"
