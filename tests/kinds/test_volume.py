"""Volumes: what is seen of them, and that nothing but leave destroys what is in one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.dockerd import DOWN
from kbstate.kinds.volume import Volume, Volumes, VolumeState
from kbstate.secret import Secret
from tests.kinds.case import LabCase, change_of, scripts, steps_of

DESIRED = Volume(name="kb-data", driver="local", options={"type": "tmpfs", "device": "tmpfs"}, labels={"a": "1"})
LIVE = VolumeState(
    Name="kb-data",
    Driver="local",
    Options={"type": "tmpfs", "device": "tmpfs"},
    Labels={"a": "1"},
)

CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"driver": "nfs"}, {"driver": ("nfs", "local")}),
    ({"options": {"type": "tmpfs"}}, {"options.device": (None, "tmpfs")}),
    ({"labels": {}}, {"labels.a": (None, "1")}),
]


@pytest.mark.parametrize(("live", "fields"), CASES)
def test_each_field(live: dict[str, Any], fields: dict[str, Any]) -> None:
    change = change_of(DESIRED, {"volume": LIVE.model_copy(update=live)})
    assert ({} if change is None else {d.path: (d.before, d.after) for d in change.diff}) == fields
    if change is not None:
        assert change.action == "replace"
        [step] = steps_of(change)
        assert scripts(step).startswith("set -eu\ndocker volume rm -- kb-data")


def test_what_is_not_declared_is_not_compared() -> None:
    assert change_of(Volume(name="kb-data"), {"volume": LIVE}) is None


def test_create_and_delete() -> None:
    [make] = steps_of(change_of(DESIRED, {"volume": None}) or pytest.fail())
    assert scripts(make) == (
        "docker volume create --driver local --opt device=tmpfs --opt type=tmpfs --label a=1 -- kb-data >/dev/null"
    )
    gone = change_of(Volume(name="kb-data", absent=True), {"volume": LIVE})
    assert gone is not None
    [remove] = steps_of(gone)
    assert scripts(remove) == "docker volume rm -- kb-data >/dev/null"
    assert change_of(Volume(name="kb-data", absent=True), {"volume": None}) is None


def test_what_is_in_it_is_destroyed_only_with_leave() -> None:
    assert DESIRED.before_delete() == "destroys what is in it"


def test_needs() -> None:
    assert "service:docker.service" in set(DESIRED.needs())


@pytest.mark.parametrize(
    "fields", [{"name": "a b"}, {"name": "-x"}, {"options": {"o": Secret("x")}}, {"labels": {"a b": "1"}}]
)
def test_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Volume(**{"name": "kb-data", **fields})


def test_process() -> None:
    """As recorded from Docker 20.10.24."""
    said = {
        "CreatedAt": "2026-11-25T02:50:30Z",
        "Driver": "local",
        "Labels": None,
        "Mountpoint": "/var/lib/docker/volumes/kb-data/_data",
        "Name": "kb-data",
        "Options": {"device": "tmpfs", "type": "tmpfs"},
        "Scope": "local",
    }
    found = Volumes().process(["kb-data", "gone"], f"V {json.dumps(said)}\n")
    assert found == {"kb-data": LIVE.model_copy(update={"labels": {}}), "gone": None}
    assert Volumes().failed(69, "docker daemon not running") == DOWN


@given(st.text(alphabet='V {}":\n', max_size=60))
def test_nonsense_is_an_error_or_nothing(output: str) -> None:
    try:
        assert Volumes().process(["kb"], output) == {"kb": None}
    except ValueError:
        pass


PLUGIN = r"""
mkdir -p /run/docker/plugins
setsid perl -e '
use IO::Socket::UNIX; my $path = "/run/docker/plugins/kbfake.sock"; unlink $path; my %made;
my $server = IO::Socket::UNIX->new(Local => $path, Listen => 8) or die;
while (my $c = $server->accept) {
  my ($asked, $need) = ("", 1);
  while (length $asked < $need) {
    sysread $c, $asked, 4096, length $asked or last;
    my $body = 4 + index $asked, "\r\n\r\n"; my ($length) = $asked =~ /^content-length: (\d+)/im;
    $need = $body < 4 ? 1 + length $asked : $body + ($length // 0);
  }
  my ($what) = $asked =~ m{/(\S+)}; my ($name) = $asked =~ /"Name":"([^"]*)"/; my $said = "{\"Err\":\"\"}";
  $made{$name} = 1 if $what eq "VolumeDriver.Create"; delete $made{$name} if $what eq "VolumeDriver.Remove";
  $said = "{\"Implements\":[\"VolumeDriver\"]}" if $what eq "Plugin.Activate";
  $said = "{\"Volumes\":[" . join(",", map { "{\"Name\":\"$_\"}" } keys %made) . "]}" if $what eq "VolumeDriver.List";
  $said = $made{$name} ? "{\"Volume\":{\"Name\":\"$name\"}}" : "{\"Err\":\"none\"}" if $what eq "VolumeDriver.Get";
  my $status = $said =~ /none/ ? "500 no" : "200 OK";
  print $c "HTTP/1.1 $status\r\nConnection: close\r\nContent-Length: " . length($said) . "\r\n\r\n$said"; close $c;
}' >/dev/null 2>&1 </dev/null &
sleep 1
"""
"""A volume driver that only remembers names: `local` is the only one that Docker brings."""


def lab(field: str, by_hand: str, before: str = "", alone: bool = False, **fields: Any) -> LabCase:
    name = f"kb-volume-{field}"
    desired = Volume(name=name, **fields)
    drift = f"{before}docker volume rm {name}; docker volume create {by_hand} {name}"
    return LabCase((desired,), desired.address, field, drift, docker=True, alone=alone)


LAB_CASES: list[LabCase] = [
    lab("driver", "--driver kbfake", PLUGIN, True, driver="local"),
    lab("options", "--opt type=tmpfs --opt device=kb", options={"type": "tmpfs", "device": "tmpfs"}),
    lab("labels", "--label a=2", labels={"a": "1"}),
    LabCase((Volume(name="kb-gone"),), "volume:kb-gone", "", "docker volume rm kb-gone", docker=True),
]
