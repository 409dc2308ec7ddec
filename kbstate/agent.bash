#!/bin/bash
# The loop that serves one kbstate run on a host: `bash -c THIS kbstate NONCE`, as root.
#
# A request is a line, for `read` and `step` followed by a script of the length it names, compressed. In `read`, output is
# streamed and nothing is written; in `step`, it goes to a file in /run, so that a step whose reader is gone still comes
# to its own end. The loop alone holds the lock `owner`; the lock `busy` is inherited by the step at work.
n=$1; set -f; umask 022; exec 3>&1
export LC_ALL=C LANG=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
d=/run/kbstate
say() { printf '%s %s\n' "$n" "$*" >&3; }
packed() { gzip -1c | base64 -w0; }
# wait for the step; if meanwhile the run that wants it is gone, end at once, and the step goes on alone
attend() {
  t=.01 q=0
  while kill -0 "$1" 2>/dev/null; do
    IFS= read -r -t "$t" _; r=$?
    if [ "$r" -gt 128 ]; then q=$((q + 1)); elif [ "$r" -eq 0 ]; then q=0; else exit 0; fi
    [ "$q" -lt 480 ] || exit 0
    case $t in .01) t=.02 ;; .02) t=.05 ;; .05) t=.1 ;; *) t=.25 ;; esac
  done
  wait "$1"; s=$?
}
IFS= read -r -t 120 line || exit 96
# sudo that did not ask leaves the password to be read away
[ "$line" = "$n" ] || { IFS= read -r -t 120 line && [ "$line" = "$n" ]; } || exit 96
line=; say ready "$(id -u)"
while IFS= read -r -t 120 line; do
  # shellcheck disable=SC2086 # a request is words
  set -- $line
  case ${1-} in
  read)
    printf '%s answer ' "$n" >&3
    e=$({ { head -c "$3" | gzip -dc | timeout -k 5 "$2" sh -s 3>&- 8>&- 9>&-; printf '\n%s' "${PIPESTATUS[2]}"; } |
      packed >&3; } 2>&1 | packed)
    printf ' %s\n' "$e" >&3 ;;
  step)
    p=$(head -c "$3" | base64 -w0); printf %s "$4" | base64 -d >"$d/step"
    { printf %s "$p" | base64 -d | gzip -dc | timeout -k 10 "$2" sh -s >"$d/output" 2>"$d/errors"
      c=${PIPESTATUS[3]}; rm -f "$d/step"; exit "$c"; } 3>&- 8>&- &
    p=; attend $!
    o=$({ tail -c "$5" "$d/output"; printf '\n%s' "$s"; } | packed); e=$(tail -c "$5" "$d/errors" | packed)
    rm -f "$d/output" "$d/errors"; say answer "$o" "$e" ;;
  lock)
    { { [ -d "$d" ] || mkdir -m 700 "$d"; } && : >>"$d/owner.lock" && : >>"$d/busy.lock"; } || { say failed; continue; }
    exec 8>>"$d/owner.lock" 9>>"$d/busy.lock"
    if ! flock -w "$2" 8; then s=owner
    elif ! flock -w "$2" 9; then s=step
    else printf %s "$3" | base64 -d >"$d/owner"; say locked; continue; fi
    exec 8>&- 9>&-; say held "$s" "$(packed <"$d/$s")" ;;
  esac
done
