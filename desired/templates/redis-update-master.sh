#!/bin/sh
# Points HAProxy at the Redis master that the Sentinels agree on; run every few seconds by redis-update-master.timer.
#
# Every Sentinel is asked, and only what a majority of all of them says counts. The server that they name must confirm
# its ROLE. Then it alone is ready in HAProxy, and every other server is in maintenance: no file of HAProxy's
# configuration changes. While there is no majority, or it names no declared server, all stays as it is.
#
# Exit status: 0 HAProxy points at the master; 1 it could not be brought there, which a line on standard error explains.
#
# From the environment (see the unit):
#   SENTINELS     address:port of every Sentinel, parted by spaces
#   MASTER_NAME   the name under which they watch the master
#   AUTH_FILE     a file with the AUTH command for redis-cli, which thus reads it from its standard input
#   ADMIN_SOCKET  HAProxy's socket
#   BACKEND       its backend, whose servers have the addresses that the Sentinels name
#   STATE_FILE    where HAProxy finds after a reload what is in maintenance
set -u

fail() {
    echo "<4>$*" >&2 # <4>: a warning. Source: sd-daemon(3)
    exit 1
}

redis() { # redis ADDRESS:PORT: commands on standard input, raw answers on standard output
    timeout 2 redis-cli -h "${1%:*}" -p "${1##*:}" 2>/dev/null
}

haproxy() { # haproxy COMMAND
    printf '%s\n' "$1" | timeout 5 socat -t 5 - "UNIX-CONNECT:$ADMIN_SOCKET" 2>/dev/null
}

# --- whom do the Sentinels name? ---

ask_sentinels() { # a line 'address:port' for each Sentinel that names a master
    for sentinel in $SENTINELS; do
        echo "SENTINEL GET-MASTER-ADDR-BY-NAME $MASTER_NAME" | redis "$sentinel" | {
            read -r address && read -r port || exit 0
            case $port in '' | *[!0-9]*) ;; *) echo "$address:$port" ;; esac
        } &
    done
    wait
}

# shellcheck disable=SC2086 # the list is meant to be split
set -- $SENTINELS
majority=$(($# / 2 + 1))
answers=$(ask_sentinels | sort | uniq -c | sort -rn)
read -r votes master <<EOF
$answers
EOF
[ "${votes:-0}" -ge "$majority" ] ||
    fail "no $majority of $# Sentinels name the same master (votes: $(echo "${answers:-none}" | tr -s ' \n' ' ')): left as it is"

role=$({ cat "$AUTH_FILE" && echo ROLE; } | redis "$master" | sed -n 2p)
[ "$role" = master ] || fail "the Sentinels name $master, which says that its role is '${role:-unknown}': left as it is"

# --- is it the one that HAProxy uses? ---

# Columns of 'show servers state': 2 backend, 4 server, 5 address, 7 administrative state (bit 0: put into maintenance),
# 19 port. Source: HAProxy management guide, "show servers state".
servers() { # a line 'name address:port ready|maint' for each server
    haproxy "show servers state $BACKEND" |
        awk -v backend="$BACKEND" '$2 == backend { print $4, $5 ":" $19, ($7 % 2 ? "maint" : "ready") }'
}

wanted() { # whether each server is as it must be, and the master is among them
    awk -v master="$master" '
        $2 == master { found = 1; wrong += $3 != "ready"; next }
        { wrong += $3 != "maint" }
        END { exit !(found && !wrong) }'
}

now=$(servers)
[ -n "$now" ] || fail "HAProxy does not answer on $ADMIN_SOCKET, or has no servers in $BACKEND"
case "$now" in *" $master "*) ;; *) fail "the Sentinels name $master, which is no server of $BACKEND: left as it is" ;; esac

if ! echo "$now" | wanted; then
    # the others first, so that no two are ready at once
    echo "$now" | awk -v master="$master" '$2 != master && $3 == "ready" { print $1 }' | while read -r name; do
        haproxy "set server $BACKEND/$name state maint" >/dev/null
    done
    echo "$now" | awk -v master="$master" '$2 == master && $3 != "ready" { print $1 }' | while read -r name; do
        haproxy "set server $BACKEND/$name state ready" >/dev/null
    done
    servers | wanted || fail "HAProxy did not take $master as the only server of $BACKEND"
    echo "<5>HAProxy now points at $master" >&2 # <5>: a notice
fi

# --- keep it for the next start or reload ---

# What changes from second to second is left out of the comparison, so that an unchanged state is not written anew.
digest() { awk '$2 == backend { print $4, $5, $6, $7, $19 }' backend="$BACKEND"; }

state=$(haproxy "show servers state $BACKEND") || fail "HAProxy does not tell the state of its servers"
[ -e "$STATE_FILE" ] && [ "$(printf '%s\n' "$state" | digest)" = "$(digest <"$STATE_FILE")" ] && exit 0
fresh=$(mktemp "$STATE_FILE.XXXXXX") || fail "cannot write beside $STATE_FILE"
trap 'rm -f -- "$fresh"' EXIT
{
    printf '%s\n' "$state" >"$fresh" && chgrp --reference="${STATE_FILE%/*}" -- "$fresh" &&
        chmod 0640 -- "$fresh" && mv -f -- "$fresh" "$STATE_FILE"
} || fail "cannot write $STATE_FILE"
trap - EXIT
