# Reads the output of `go test` and prints what failed, in short: for each test, data race, panic and package that does not
# compile a line "FAILED package: what", and some lines of it. A package that has failed without any of these shows its last lines.
#
#   go test ./... | awk -f scripts/failures.awk
BEGIN {
    first = 6 # lines that are shown of a failure, from its beginning and from its end
    final = 8
}

# text is what is shown of the lines that were added.
function text(    i, all) {
    for (i = 1; i <= count; i++) {
        if (count > first + final && i == first + 1) {
            all = all sprintf("    … %d lines …\n", count - first - final)
            i = count - final + 1
        }
        all = all "    " line[i] "\n"
    }
    return all
}

function add(s) {
    if (count > 0 || s != "") line[++count] = s
}

# finish keeps what has ended, for the result of the package. The parent of a test that has failed says nothing itself.
function finish() {
    if (title != "" && !(count == 0 && is_parent)) kept[++failures] = title "\n" text()
    title = ""
    count = is_parent = any = 0
}

function begin(name, any_line) {
    finish()
    title = name
    any = any_line
}

function package_failed(name,    i) {
    finish()
    for (i = 1; i <= failures; i++) printf "FAILED %s: %s", name, kept[i]
    if (failures == 0 && !(name in compiled_not)) {
        printf "FAILED %s: no test says why\n", name
        count = 0
        for (i = seen > final ? seen - final + 1 : 1; i <= seen; i++) add(all_lines[i])
        printf "%s", text()
        count = 0
    }
    failures = seen = 0
}

compiling && /^[^#]/ && !/^(FAIL|ok|---|\?)/ { add($0); next }
compiling { printf "FAILED %s: does not compile\n%s", compiling, text(); compiled_not[compiling] = 1; compiling = ""; count = 0 }
/^# / { finish(); compiling = $2; next }
/^(ok  |\?   )/ { finish(); failures = seen = 0; next }
/^FAIL\t/ { package_failed($2); next }
/^FAIL$/ || /^exit status / { finish(); next }
/^ *--- FAIL: / {
    match($0, /^ */)
    if (title != "" && RLENGTH > depth) is_parent = 1
    depth = RLENGTH
    begin($3, 0)
    next
}
/^WARNING: DATA RACE/ { begin("data race", 1); next }
/^(panic|fatal error): / { begin($0, 1); next }
/^==================/ { finish(); next }
{ all_lines[++seen] = $0 }
title != "" && (any || /^[ \t]/) { sub(/^    +/, ""); add($0) }
END {
    if (compiling) printf "FAILED %s: does not compile\n%s", compiling, text()
}
