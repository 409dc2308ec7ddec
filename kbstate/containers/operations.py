"""The operations that change a container. What was there before comes back if the new one does not stay up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kbstate import loaded
from kbstate.shell import q, words

IDENTITY = "{{.Id}}@{{.State.StartedAt}}"
POLICY = "{{with .HostConfig.RestartPolicy}}{{.Name}}{{if .MaximumRetryCount}}:{{.MaximumRetryCount}}{{end}}{{end}}"

FUNCTIONS = r"""
there() { docker container inspect -- "$1" >/dev/null 2>&1; }
said() { docker container inspect --format "$2" -- "$1"; }
drop() { if there "$1"; then docker container rm --force -- "$1" >/dev/null; fi; }
fail() {
  echo "$n $1; the end of its log:"
  docker container logs --tail 15 -- "$n" 2>&1 | cut -c1-300
  exit 1
} >&2
settle() {
  before=$(said "$n" '{{.State.StartedAt}}')
  sleep "$1"
  set -- $(said "$n" '{{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}')
  [ "$1" = running ] || fail "did not stay up: it is $1"
  [ "$2" = "$before" ] || fail "died soon after its start and was started again"
}
"""
"""`settle` looks that what was started stays up: what dies after a second was not started."""


def _head(name: str) -> list[str]:
    return ["set -eu", f"n={q(name)}", FUNCTIONS.strip()]


def _stamps(stamps: Mapping[str, str]) -> Iterator[str]:
    for stamp, digest in stamps.items():
        yield loaded.stamp_script(stamp, f"said \"$n\" '{IDENTITY}'", digest)


def place(
    *,
    name: str,
    options: Sequence[str],
    image: str,
    command: Sequence[str],
    networks: Sequence[str],
    running: bool | None,
    settles: int,
    stamps: Mapping[str, str],
) -> Iterator[str]:
    """Make a container, in the place of the one that may have this name; `running` None: as that one was.

    The new one is made under another name while the old one still runs; then stop, rename, start. If that fails at any
    point the old one is put back as it was. What an interrupted run left over is taken up.
    """
    create = ["docker", "container", "create", "--pull", "never"]
    yield "\n".join(
        [
            *_head(name),
            'new="$n.kbstate-new"; old="$n.kbstate-old"; policy=; replaced=no',
            UNDO.strip(),
            'drop "$new"',
            f'{words(create)} --name "$new" {words([*options, "--", image, *command])} >/dev/null',
            *(f'docker network connect -- {q(network)} "$new"' for network in networks),
            f"start={'' if running is None else str(running).lower()}; was=$start",
            TAKE_PLACE.strip(),
            'docker container rename -- "$new" "$n"',
            'if [ "${start:-$was}" = true ]; then',
            'docker container start -- "$n" >/dev/null || fail "did not start"',
            f"settle {int(settles)}",
            *_stamps(stamps),
            "fi",
            'trap - EXIT; drop "$old"',
        ]
    )


TAKE_PLACE = r"""
if there "$n"; then
  drop "$old"
  was=$(said "$n" '{{.State.Running}}'); policy=$(said "$n" '@POLICY@'); replaced=yes
  trap undo EXIT
  if [ "$(said "$n" '{{.HostConfig.AutoRemove}}')" = true ]; then
    docker container stop -- "$n" >/dev/null
    replaced=no; drop "$n" 2>/dev/null || true
  else
    # or it may come up beside its successor after a reboot
    docker container update --restart no -- "$n" >/dev/null
    docker container stop -- "$n" >/dev/null
    docker container rename -- "$n" "$old"
  fi
fi
trap undo EXIT
""".replace("@POLICY@", POLICY)

UNDO = r"""
undo() {
  set +e; trap - EXIT
  if there "$old"; then
    drop "$n"
    docker container rename -- "$old" "$n"
  else
    drop "$new"
    [ "$replaced" = yes ] || exit 1
  fi
  [ -z "$policy" ] || docker container update --restart "$policy" -- "$n" >/dev/null
  [ "$was" != true ] || docker container start -- "$n" >/dev/null
  echo "$n: the container that was there before is put back" >&2
  exit 1
}
"""
"""Without one that was there before, the new one stays as it is, to be looked at."""


def _checked(check: Sequence[str]) -> Iterator[str]:
    if check:
        refused = f'echo "$n: it was left as it is, since it does not accept its files:" {q(words(check))} failed >&2'
        yield f'docker container exec -- "$n" {words(check)} >&2 || {{ {refused}; exit 1; }}'


def control(name: str, verb: str, settles: int, stamps: Mapping[str, str], check: Sequence[str] = ()) -> Iterator[str]:
    """Start, stop, restart or unpause it, and look that it stays so. The end of its log is part of the error.

    `check` is a command that must succeed in it first.
    """
    script = [*_head(name), *_checked(check), f'docker container {verb} -- "$n" >/dev/null || fail "did not {verb}"']
    if verb != "stop":
        script += [f"settle {int(settles)}", *_stamps(stamps)]
    yield "\n".join(script)


def reload(name: str, signal: str, settles: int, stamps: Mapping[str, str], check: Sequence[str] = ()) -> Iterator[str]:
    """Send a signal to its first process; `check` is a command that must succeed in it first.

    Not by `docker kill`: that marks a container as stopped by hand, which then does not come back with the daemon.
    """
    yield "\n".join(
        [
            *_head(name),
            *_checked(check),
            "pid=$(said \"$n\" '{{.State.Pid}}')",
            '[ "$pid" -gt 1 ] || fail "is not running"',
            f'kill -s {q(signal.removeprefix("SIG"))} "$pid"',
            f"settle {int(settles)}",
            *_stamps(stamps),
        ]
    )


def update(name: str, options: Sequence[str]) -> Iterator[str]:
    """Change what can be changed while it runs. Source: docker-update(1)."""
    yield f"docker container update {words(options)} -- {q(name)} >/dev/null"


def join(name: str, connect: Sequence[str], disconnect: Sequence[str]) -> Iterator[str]:
    """Connect it to further networks, and disconnect it from others. Source: docker-network-connect(1)."""
    yield "\n".join(
        [
            "set -eu",
            *(f"docker network connect -- {q(network)} {q(name)}" for network in connect),
            *(f"docker network disconnect -- {q(network)} {q(name)}" for network in disconnect),
        ]
    )


def remove(name: str) -> Iterator[str]:
    """Stop it as it wants to be stopped, and remove it; its volumes stay."""
    stop = f"docker container stop -- {q(name)} >/dev/null"
    yield f"set -eu\n{stop}\ndocker container rm -- {q(name)} >/dev/null"


def clean_up(names: Sequence[str]) -> Iterator[str]:
    """Remove what an interrupted replacement left over."""
    yield f"docker container rm --force -- {words(names)} >/dev/null"
