#!/bin/sh
# Writes alertmanager.yml with what the environment says, then runs the command:
#   start.sh TEMPLATE TARGET COMMAND...
# ${NAME} becomes the value of NAME, quoted. A line whose first ${NAME} is empty is left out, so a
# receiver that is not set is not there. The target has secrets: only its owner may read it.
set -eu
umask 077
awk '{
    left = $0
    done = ""
    while (match(left, /[$][{][A-Z_]+[}]/)) {
        value = ENVIRON[substr(left, RSTART + 2, RLENGTH - 3)]
        if (value == "" && done == "") next
        head = substr(left, 1, RSTART - 1)
        left = substr(left, RSTART + RLENGTH)
        quoted = ""
        for (at = 1; at <= length(value); at++) {
            char = substr(value, at, 1)
            if (char == "\\" || char == "\"") quoted = quoted "\\"
            quoted = quoted char
        }
        done = done head "\"" quoted "\""
    }
    print done left
}' "$1" >"$2"
shift 2
exec "$@"
