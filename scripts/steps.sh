# shellcheck shell=bash
# Runs a list of steps and gives the verdict. A script sources this file, calls `step` for each step, then `run_steps`, and
# has `verdict` as its last line:
#
#   step "name" command argument…    puts a step on the list
#   run_steps                        runs them, and stops at the first that fails
#   verdict                          prints PASS
#
# A step can call `note` with a line to repeat with the verdict, and append to the file TEST_STEPS_FAILURES what has failed and
# why: that comes at the very end, just before FAIL, because the end of a log is what is read first. `go_test` does so.
#
# PASS is printed only if each step has ended well and the script has reached its last line. Anything else that ends the script (a
# signal, a step that fails, an `exit 0` anywhere) ends in FAIL and a status other than 0. The processes of the steps end with it.

set -euo pipefail
exec </dev/null # nothing may wait for a person

step_names=()
step_commands=()
steps_done=0
step_now=start
step_process=
verdict_passed=no
step_patience=10 # seconds that the processes of a step have to end by themselves
step_files=$(mktemp -d)
steps_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Every process of a step inherits this, including one that has left its process group or lost its parent.
TEST_STEPS_RUN=$$.$RANDOM$RANDOM
export TEST_STEPS_RUN

# What has failed in a step, for the end of the output.
export TEST_STEPS_FAILURES=$step_files/failures

step() {
    step_names+=("$1")
    shift
    step_commands+=("$(printf '%q ' "$@")")
}

# note TEXT prints a line, and prints it again with the verdict. It works in a step.
note() {
    printf 'NOTE: %s\n' "$1"
    printf '%s\n' "$1" >>"$step_files/notes"
}

# go_test ARGUMENT… runs `go test`, and takes down what fails in it.
go_test() {
    local log status=0
    log=$(mktemp "$step_files/go-test.XXXXXX")
    go test "$@" 2>&1 | tee "$log" || status=$?
    [ "$status" -eq 0 ] || awk -f "$steps_dir/failures.awk" "$log" >>"$TEST_STEPS_FAILURES"
    return "$status"
}

# side_by_side FUNCTION… runs functions at the same time, and writes whose each line is: `test_egg` writes `egg: …`. It fails if one
# of them fails, after the others have ended.
side_by_side() {
    local each status=0
    for each in "$@"; do
        rm -f "$step_files/$each"
        {
            (
                set -euo pipefail
                "$each"
                : >"$step_files/$each" # not reached after a failure, or an exit inside, whatever its status
            ) 2>&1 | sed -u "s/^/${each#test_}: /"
        } &
    done
    wait
    for each in "$@"; do
        [ -e "$step_files/$each" ] || { echo "$each failed: see its lines" >&2; status=1; }
    done
    return "$status"
}

# processor_seconds prints the processor time of all commands so far that have ended.
processor_seconds() {
    times >"$step_files/times" # not in a pipe: it tells of the shell that it runs in
    awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, "[ms]"); sum += 60 * t[1] + t[2] } printf "%d", sum }' "$step_files/times"
}

run_steps() {
    local i
    for i in "${!step_names[@]}"; do
        run_step "${step_names[i]}" "${step_commands[i]}"
    done
}

# run_step NAME COMMAND runs a step in its own process group, so that all of it can be stopped. The step runs in the background:
# bash handles a signal during `wait`, but during a command in the foreground only at its end.
run_step() {
    local begin=$SECONDS status=0 place before after
    step_now=$1
    place="[$((steps_done + 1)) of ${#step_names[@]}]"
    printf '\n=== %s %s\n' "$place" "$step_now"
    processor_seconds >"$step_files/before"
    rm -f "$step_files/returned"
    set -m
    (
        set +m -euo pipefail
        eval "$2"
        : >"$step_files/returned" # not reached after an exit inside the step, whatever its status
    ) &
    step_process=$!
    set +m
    wait "$step_process" || status=$?
    if [ "$status" -eq 0 ] && [ ! -e "$step_files/returned" ]; then
        echo "the step was left by an exit with status 0 before its end" >&2
        status=1
    fi
    [ "$status" -eq 0 ] || exit "$status"
    step_process=
    steps_done=$((steps_done + 1))
    processor_seconds >"$step_files/after"
    read -r before <"$step_files/before" || true # there is no newline
    read -r after <"$step_files/after" || true
    printf '=== %s %s: ok, %d s (processor time %d s)\n' "$place" "$step_now" $((SECONDS - begin)) $((after - before))
}

verdict() {
    step_now=verdict
    if [ "${#step_names[@]}" -eq 0 ]; then
        echo "there are no steps" >&2
        exit 1
    fi
    [ "$steps_done" -eq "${#step_names[@]}" ] || exit 1
    verdict_passed=yes
}

# step_processes prints the processes that steps have left running. It needs Linux's /proc.
step_processes() {
    local file
    # env, or grep would find itself
    env -u TEST_STEPS_RUN grep -lzs "^TEST_STEPS_RUN=$TEST_STEPS_RUN\$" /proc/[0-9]*/environ 2>/dev/null | while IFS=/ read -r _ _ file _; do
        if [ "$file" != $$ ]; then echo "$file"; fi
    done || true
}

signal_steps() {
    local process
    [ -z "$step_process" ] || kill -s "$1" -- "-$step_process" 2>/dev/null || true
    for process in $(step_processes); do kill -s "$1" "$process" 2>/dev/null || true; done
}

steps_are_running() {
    { [ -n "$step_process" ] && kill -0 -- "-$step_process" 2>/dev/null; } || [ -n "$(step_processes)" ]
}

stop_steps() {
    local tenth
    signal_steps TERM
    for ((tenth = 0; tenth < 10 * step_patience; tenth++)); do
        steps_are_running || return 0
        sleep 0.1
    done
    signal_steps KILL
}

# show_failures prints what has failed, and the names once more if the rest is long.
show_failures() {
    [ -s "$TEST_STEPS_FAILURES" ] || return 0
    cat "$TEST_STEPS_FAILURES"
    [ "$(wc -l <"$TEST_STEPS_FAILURES")" -le 18 ] || { echo "In short:" && grep '^FAILED ' "$TEST_STEPS_FAILURES" | cut -c1-200; } || true
    echo
}

# shellcheck disable=SC2329 # called by the trap
finish_steps() {
    local status=$? text place process
    trap '' HUP INT TERM PIPE # the verdict is not interrupted
    for process in $(step_processes); do
        text=$(tr '\0' ' ' <"/proc/$process/cmdline" 2>/dev/null) || continue
        [ "$verdict_passed" = no ] || note "stopped what a step had left running: ${text:0:120}"
    done
    stop_steps
    echo
    if [ -s "$step_files/notes" ]; then
        while read -r text; do echo "NOTE: $text"; done <"$step_files/notes"
    fi
    [ "$verdict_passed" = yes ] || show_failures
    rm -rf "$step_files"
    place="$steps_done of ${#step_names[@]} steps of $0 in $((SECONDS / 60)) min $((SECONDS % 60)) s"
    if [ "$verdict_passed" = yes ] && [ "$status" -eq 0 ]; then
        echo "PASS: all $place"
        return
    fi
    [ "$status" -ne 0 ] || status=1
    echo "FAIL: step \"$step_now\", exit status $status, after $place"
    exit "$status"
}
trap finish_steps EXIT
# A signal ends the script at once, not after the step.
trap 'echo "stopped by SIGHUP" >&2; exit 129' HUP
trap 'echo "stopped by SIGINT" >&2; exit 130' INT
trap 'echo "stopped by SIGTERM" >&2; exit 143' TERM
