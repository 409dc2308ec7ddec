"""The firewall of a host: who may connect to which ports, in one table of nftables that no other program touches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator

from kbstate import nft
from kbstate.kinds.dropin import DropIn
from kbstate.kinds.file import File
from kbstate.kinds.package import Package
from kbstate.kinds.service import Service
from kbstate.kinds.unit import Unit
from kbstate.nft import Allow, Interface, LogRate, admits
from kbstate.paths import PathState
from kbstate.resource import AnyRead, Change, Fact, Impact, Read, Resource, Step, Unknown, Unordered
from kbstate.shell import feed, q
from kbstate.units import UnitState

UNIT = "kbstate-firewall.service"
DIRECTORY = "/etc/kbstate"
FILE = f"{DIRECTORY}/firewall.nft"

Items: TypeAlias = tuple[Mapping[str, Any], ...]
"""What libnftables-json(5) says of a table."""


def _one_family(rules: tuple[Allow, ...] | None) -> tuple[Allow, ...] | None:
    return None if rules is None else tuple(part for rule in rules for part in rule.by_version())


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class Arrival:
    """The connection by which kbstate came: from where, to which port, and the interface that has the address."""

    client: str
    port: int
    interface: str


class Tables(Fact[None, Items]):
    """The table of kbstate as the kernel has it; None where there is none. Source: nft(8), `--json`."""

    program: ClassVar[str | None] = "nft"
    packages: ClassVar[tuple[str, ...]] = ("nftables",)

    def command(self, wanted: Sequence[None]) -> str:
        # asking for a table that is not there fails just as not being allowed to ask does; and nft 1.0.6 cannot name
        # the flags of one in JSON, of which dormant means that nothing is filtered at all
        return "\n".join(
            [
                "set -eu; t=$(nft list tables inet)",
                """if printf '%s' "$t" | grep -v '^table inet ' >&2; then exit 1; fi""",
                f"""if printf '%s\\n' "$t" | grep -qx 'table {nft.TABLE}'; then""",
                f"t=$(nft list table {nft.TABLE}); f=$(printf '%s\\n' \"$t\" | sed -n 's/^\tflags //p')",
                f'if [ -z "$f" ]; then nft -j list table {nft.TABLE}',
                """else printf '{"nftables": [{"table": {"flags": "%s"}}]}\\n' "$f"; fi; fi""",
            ]
        )

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, Items | Unknown | None]:
        return {None: tuple(json.loads(output)["nftables"]) if output.strip() else None}


class Arrivals(Fact[None, Arrival]):
    """How kbstate came. Source: ssh(1), SSH_CONNECTION."""

    def command(self, wanted: Sequence[None]) -> str:
        return (
            'set -- $KBSTATE_SSH_CONNECTION; echo "$*"\n'
            "[ $# -ne 4 ] || ip -oneline address show to \"${3%%%*}\" | awk '{ print $2; exit }'"
        )

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, Arrival | Unknown | None]:
        first, *interface = output.splitlines()
        match first.split():
            case [client, _, _, port]:
                return {None: Arrival(client, int(port), interface[0] if interface else "")}
        return {None: Unknown("how this connection came is not known, so not whether the rules would cut it off")}


class Ufw(Fact[None, str]):
    """Whether ufw filters, now or after the next boot; None where it is not installed. Source: ufw(8)."""

    def command(self, wanted: Sequence[None]) -> str:
        return (
            "command -v ufw >/dev/null || { echo none; exit 0; }\n"
            "ufw status | grep '^Status: ' || exit 1\ngrep -i '^ENABLED=yes' /etc/ufw/ufw.conf || true"
        )

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, str | Unknown | None]:
        status, *enabled = output.splitlines()
        if status == "none":
            return {None: None}
        return {None: "inactive" if status == "Status: inactive" and not enabled else "active"}


class Firewall(Resource):
    """Whoever no rule lets in is dropped, be the port one of the host or published by a container.

    Let in without a rule: known connections, the loopback, ICMP, and of IPv6 what finds neighbours. Nothing is filtered
    on its way out. Containers come in as anyone else does: name their network to open a port of the host to them.
    """

    kind: ClassVar[str] = "firewall"

    name: Literal["kbstate"] = "kbstate"
    rules: Annotated[tuple[Allow, ...] | None, AfterValidator(_one_family)] = None
    container_bridges: Annotated[tuple[Interface, ...], Unordered(), AfterValidator(_once)] = ("docker0", "br-*")
    """Behind these are containers: who has a route there gets no further than their published ports."""
    log: LogRate | Literal["off"] = "off"
    """How much of what is dropped goes to the log of the kernel: `10/minute`."""
    ufw: Literal["active", "inactive"] | None = None
    """`inactive`: ufw is disabled once these rules are loaded."""
    strays: tuple[str, ...] = ()
    """Observed only: lines of the table that are not ours, and ours that are missing or moved."""
    saved: bool = True
    """Whether the file for the next boot says what is loaded, or what is declared."""
    at_boot: bool = True
    """Whether the units are in place that load the file before the network comes up, and whenever Debian's own unit has
    flushed it."""

    @property
    def file(self) -> File:
        rules = None if self.rules is None else nft.render(self.rules, self.container_bridges, self.log)
        return self._file(rules)

    def _file(self, content: str | None) -> File:
        return File(path=FILE, content=content, owner="root", group="root", mode="0644")

    @property
    def unit(self) -> Unit:
        return Unit(name=UNIT, content=UNIT_CONTENT, owner="root", group="root", mode="0644")

    @property
    def guard(self) -> DropIn:
        return DropIn(
            unit="nftables.service",
            name="kbstate",
            content=GUARD,
            owner="root",
            group="root",
            mode="0644",
            verify=False,
        )

    @property
    def service(self) -> Service:
        return Service(name=UNIT, running=True, enabled=True, settles=0)

    def parts(self) -> Iterator[Resource]:
        yield Package(name="nftables")

    def problems(self) -> Iterator[str]:
        if self.rules is None and not self.absent:
            yield "rules are missing"
        if self.ufw == "active":
            yield "ufw can only be declared inactive"
        if self.strays or not self.saved or not self.at_boot:
            yield "strays, saved and at_boot are observed, not declared"

    def reads(self) -> Mapping[str, AnyRead]:
        unit = {f"unit_{name}": read for name, read in self.unit.reads().items()}
        guard = {f"guard_{name}": read for name, read in self.guard.reads().items()}
        table = {"table": Read(Tables), **self.file.reads(), **unit, **guard}
        return table if self.absent else {**table, "arrival": Read(Arrivals), "ufw": Read(Ufw)}

    def observe(
        self,
        *,
        table: Items | None,
        state: PathState | None,
        unit_state: PathState | None,
        unit_unit: UnitState,
        guard_state: PathState | None,
        guard_unit: UnitState,
        arrival: Arrival | None = None,
        ufw: str | None = None,
    ) -> Self | Unknown | None:
        if self.absent:
            return type(self)() if table or state or unit_state or guard_state else None
        if trouble := self._trouble(arrival, ufw):
            return Unknown(trouble)
        parts = (
            self.file.observe(state),
            self.unit.observe(unit_state, unit_unit),
            self.service.observe(unit_unit),
            self.guard.observe(guard_state, guard_unit),
        )
        for part in parts:
            if isinstance(part, Unknown):
                return part
        if table is None:
            return None
        live = nft.read(table)
        # a file that says what is loaded owes nothing by itself: then it is the rules that differ
        files = self.file, self._file(nft.render(live.rules, live.bridges, live.log))
        values = {
            "rules": live.rules,
            "container_bridges": live.bridges,
            "log": live.log,
            "ufw": ufw or "inactive",
            "strays": live.strays,
            "saved": any(_as_declared(file, parts[0]) for file in files),
            "at_boot": all(map(_as_declared, (self.unit, self.service, self.guard), parts[1:])),
        }
        return type(self)().model_copy(update=values)

    def _trouble(self, arrival: Arrival | None, ufw: str | None) -> str | None:
        """Why nothing must be changed."""
        if arrival and not admits(self.rules or (), arrival.client, arrival.port, arrival.interface):
            at = f" at {arrival.interface}" if arrival.interface else ""
            return f"these rules do not admit {arrival.client} to port {arrival.port}{at}, by which kbstate came"
        if ufw == "active" and self.ufw is None:
            return "ufw is active and filters too: declare ufw='inactive' to have it disabled"
        return None

    def steps(self, change: Change) -> Iterator[Step]:
        fields = frozenset(self.declared()) if change.action in ("create", "replace") else change.fields
        if change.action == "delete":
            yield from self.guard.steps(change)
            yield from Unit(name=UNIT).steps(change)
            yield Step(unload, {}, "remove the table and its file")
            return
        if fields - {"at_boot", "ufw"}:
            arguments = {"content": self.file.content, "rules": self.rules or ()}
            yield Step(load, arguments, "replace the table, and keep it for the next boot")
        if "at_boot" in fields:
            create = change.model_copy(update={"action": "create"})
            yield from self.unit.steps(create)
            yield from self.guard.steps(create)
            yield from self.service.steps(create)
        if "ufw" in fields:
            yield Step(disable_ufw, {}, "disable ufw")

    def needs(self) -> Iterator[str]:
        yield "package:*"

    def impact(self, change: Change) -> Impact | None:
        return None if change.action == "delete" else "reloads without loss"

    def before_delete(self) -> str | None:
        return "opens every port to everyone"

    def backup(self) -> Iterator[str]:
        yield FILE


UNIT_CONTENT = f"""\
# written by kbstate
[Unit]
Description=Firewall of kbstate
Documentation=man:nft(8)
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
RequiresMountsFor={FILE}
# Debian's own unit flushes the tables of everyone: its drop-in loads ours again, and at boot ours comes after it.
After=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
# No ExecStop: the host stays closed when this stops.
ExecStart=/usr/sbin/nft -f {FILE}
ExecReload=/usr/sbin/nft -f {FILE}

[Install]
WantedBy=sysinit.target
"""


GUARD = f"""\
# written by kbstate: nftables.service flushes the tables of everyone whenever it starts, reloads or stops
[Service]
ExecStartPost=-/usr/sbin/nft -f {FILE}
ExecReload=-/usr/sbin/nft -f {FILE}
ExecStopPost=-/usr/sbin/nft -f {FILE}
"""


def _as_declared(wanted: Resource, live: Resource | Unknown | None) -> bool:
    return live is not None and all(getattr(live, name) == getattr(wanted, name) for name in wanted.declared())


def load(content: str, rules: Sequence[Allow]) -> Iterator[str]:
    """Replace the table if this very connection would still be let in, then the file: a reboot between undoes it."""
    yield "\n".join(
        [
            "set -eu; umask 022",
            "command -v nft >/dev/null || { echo 'nft is missing: declare Package(name=\"nftables\")' >&2; exit 1; }",
            "set -- ${KBSTATE_SSH_CONNECTION:?how this connection came is not known}; client=${1%%%*}; port=$4",
            "interface=$(ip -oneline address show to \"${3%%%*}\" | awk '{ print $2; exit }')",
            feed(f'awk -v client="$client" -v port="$port" -v interface="$interface" {q(ADMITS)}', admitted(rules)),
            f"mkdir -p {q(DIRECTORY)}; t=$(mktemp -p {q(DIRECTORY)} .firewall.nft.kbXXXXXX)",
            """trap 'rm -f -- "$t"' EXIT""",
            feed('cat > "$t"', content.encode()).rstrip("\n"),
            'nft -f "$t"',
            'chmod 0644 -- "$t"; sync -- "$t"',
            f'mv -fT -- "$t" {q(FILE)}; sync -- {q(DIRECTORY)}; trap - EXIT',
        ]
    )


def admitted(rules: Sequence[Allow]) -> bytes:
    """The rules for `ADMITS`: first and last port, first and last address, interface."""
    return "".join(
        f"{low} {high} {_digits(network[0])} {_digits(network[-1])} {rule.interface or '*'}\n"
        for rule in rules
        if rule.protocol == "tcp"
        for low, high in map(nft.port_range, rule.ports)
        for network in rule.networks
    ).encode()


def _digits(address: Any) -> str:
    return f"{address.version}.{int(address):0{address.max_prefixlen // 4}x}"


ADMITS = r"""
function hex(text) { text = "000" tolower(text); return substr(text, length(text) - 3) }
function digits(address,   halves, left, right, parts, i, n, m, text) {
  sub(/^::ffff:/, "", address)
  if (split(address, parts, ".") == 4) return sprintf("4.%02x%02x%02x%02x", parts[1], parts[2], parts[3], parts[4])
  split(address, halves, "::"); n = split(halves[1], left, ":"); m = split(halves[2], right, ":"); text = "6."
  for (i = 1; i <= n; i++) text = text hex(left[i])
  for (i = n + m; i < 8; i++) text = text "0000"
  for (i = 1; i <= m; i++) text = text hex(right[i])
  return text
}
BEGIN { address = digits(client); if (address ~ /^4\.7f/ || address == "6.00000000000000000000000000000001") found = 1 }
$1 <= port + 0 && port + 0 <= $2 && $3 "" <= address && address <= $4 "" {
  if ($5 == interface || $5 == "*" || ($5 ~ /\*$/ && index(interface, substr($5, 1, length($5) - 1)) == 1)) found = 1
}
END {
  if (!found) print "these rules do not admit " client " to port " port ", by which kbstate came" > "/dev/stderr"
  exit !found
}
"""
"""The same as `nft.admits`, on the host: a plan may be applied from elsewhere than where it was made."""


def unload() -> Iterator[str]:
    """Remove the table, if it is there, and its file."""
    remove = f"printf '%s\\n' 'add table {nft.TABLE}' 'delete table {nft.TABLE}' | nft -f -"
    yield f"set -eu\nif command -v nft >/dev/null; then {remove}; fi\nrm -f -- {q(FILE)}"


def disable_ufw() -> Iterator[str]:
    """Disable it now and at boot; its rules stay in /etc/ufw. Source: ufw(8)."""
    yield "if command -v ufw >/dev/null; then ufw disable >&2; fi"
