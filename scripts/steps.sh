# shellcheck shell=bash
# Runs a list of steps and gives the verdict. A script sources this file, calls `step` for each step, then `run_steps`, and
# has `verdict` as its last line:
#
#   step "name" command argument…    puts a step on the list
#   run_steps                        runs them, and stops at the first that fails
#   verdict                          prints PASS
#
# PASS needs the last line of the script, and each step of the list: whatever else ends the script (a signal, a step that
# fails, an `exit 0` anywhere) ends in FAIL and a status other than 0. The processes of the steps are stopped with the script.

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

# Every process of a step inherits this, also one that has left its process group or lost its parent.
TEST_STEPS_RUN=$$.$RANDOM$RANDOM
export TEST_STEPS_RUN

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

run_steps() {
    local i
    for i in "${!step_names[@]}"; do
        run_step "${step_names[i]}" "${step_commands[i]}"
    done
}

# run_step NAME COMMAND runs a step in a process group of its own, so that it can be stopped as a whole. It waits in the
# background: bash handles a signal during `wait`, but only at the end of a command in the foreground.
run_step() {
    local begin=$SECONDS status=0
    step_now=$1
    printf '\n=== %d of %d: %s\n' $((steps_done + 1)) "${#step_names[@]}" "$step_now"
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
    printf '=== %s: ok, %d s\n' "$step_now" $((SECONDS - begin))
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

# step_processes prints the processes that steps have left. Only Linux has /proc.
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

# shellcheck disable=SC2329 # called by the trap
finish_steps() {
    local status=$? text place process
    trap '' HUP INT TERM PIPE # from here on the verdict is made
    for process in $(step_processes); do
        text=$(tr '\0' ' ' <"/proc/$process/cmdline" 2>/dev/null) || continue
        [ "$verdict_passed" = no ] || note "stopped what a step had left running: ${text:0:120}"
    done
    stop_steps
    echo
    if [ -s "$step_files/notes" ]; then
        while read -r text; do echo "NOTE: $text"; done <"$step_files/notes"
    fi
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
# A signal ends the script at once and not behind the step.
trap 'echo "stopped by SIGHUP" >&2; exit 129' HUP
trap 'echo "stopped by SIGINT" >&2; exit 130' INT
trap 'echo "stopped by SIGTERM" >&2; exit 143' TERM
