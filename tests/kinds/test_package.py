"""Packages: versions, holds, what a removal takes along, and what APT is told."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import ValidationError

from kbstate.kinds.package import APT, Package, Packages, PackageState, TakenAlong
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, scripts, steps_of

INSTALLED = PackageState("1.6-2.1+deb12u1", held=False)


def done(desired: Package, state: PackageState | None, **facts: Any) -> tuple[dict[str, Any], list[Any]]:
    found = change_of(desired, {"state": state, **facts})
    if found is None:
        return {}, []
    steps = [(s.args["packages"] if isinstance(s.op, str) else scripts(s)) for s in steps_of(found)]
    return {d.path: (d.before, d.after) for d in found.diff}, steps


@pytest.mark.parametrize(
    ("desired", "state", "fields", "steps"),
    [
        (Package(name="jq"), INSTALLED, {}, []),
        (Package(name="jq"), None, {}, [["jq"]]),
        (Package(name="jq", version="1.7"), None, {}, [["jq=1.7"]]),
        (Package(name="jq", version="1.7"), INSTALLED, {"version": ("1.6-2.1+deb12u1", "1.7")}, [["jq=1.7"]]),
        (Package(name="jq", held=True), INSTALLED, {"held": (False, True)}, ["apt-mark hold jq"]),
        (Package(name="jq", held=False), PackageState("1", True), {"held": (True, False)}, ["apt-mark unhold jq"]),
        (Package(name="jq", held=True), None, {}, [["jq"], "apt-mark hold jq"]),
        (
            Package(name="jq", version="1.7", held=True),
            PackageState("1", True),
            {"version": ("1", "1.7")},
            [["jq=1.7"], "apt-mark hold jq"],
        ),
    ],
)
def test_update(desired: Package, state: PackageState | None, fields: dict[str, Any], steps: list[Any]) -> None:
    assert done(desired, state) == (fields, steps)


def test_delete_says_what_goes_along() -> None:
    gone = Package(name="docker.io", absent=True)
    found = change_of(gone, {"state": INSTALLED, "others": ("docker-compose", "x")})
    assert found is not None
    assert found._observed is not None
    assert found._observed.before_delete() == "removes docker-compose, x too"
    [step] = steps_of(found)
    assert (step.args["packages"], step.args["present"], step.args["purge"]) == (["docker.io"], False, False)
    alone = change_of(gone, {"state": INSTALLED, "others": ()})
    assert alone is not None
    assert alone._observed is not None
    assert alone._observed.before_delete() is None
    assert change_of(gone, {"state": None, "others": ()}) is None


def test_pyinfra_is_told_every_argument_that_acts() -> None:
    from pyinfra.operations import apt

    parameters = inspect.signature(inspect.unwrap(apt.packages)).parameters
    assert set(parameters) - {"packages"} == set(APT)
    [step] = steps_of(change_of(Package(name="jq"), {"state": None}) or pytest.fail())
    assert (step.op, set(step.args), step.together) == ("apt.packages", set(parameters), "packages")


@pytest.mark.parametrize("name", ["", "a", "A", "-x", "a b", "a;b", "a\n", "a_b", "$(id)", "a=1", "a/sid"])
def test_hostile_names(name: str) -> None:
    with pytest.raises(ValidationError):
        Package(name=name)


@pytest.mark.parametrize("version", ["", "x", "1 2", "1;2", "1$(id)", "1\n", "-1"])
def test_hostile_versions(version: str) -> None:
    with pytest.raises(ValidationError):
        Package(name="jq", version=version)


def test_process() -> None:
    output = (
        "jq\tinstall\tinstalled\t1.6\n"
        "held\thold\tinstalled\t1:2.0~rc1-1\n"
        "removed\tdeinstall\tconfig-files\t1\n"
        "libc6\tinstall\tinstalled\t2.36\nlibc6\tinstall\tnot-installed\t\n"
        "half\tinstall\thalf-configured\t1\n"
    )
    names = ["jq", "held", "removed", "libc6", "half", "never"]
    assert Packages().process(names, output) == {
        "jq": PackageState("1.6", False),
        "held": PackageState("1:2.0~rc1-1", True),
        "removed": None,
        "libc6": PackageState("2.36", False),
        "half": Unknown("dpkg left it half-configured: run 'dpkg --configure -a' on the host"),
        "never": None,
    }


def test_what_goes_along_is_never_guessed() -> None:
    output = (
        "docker.io Remv docker-compose [1] Remv docker.io [2]\n"
        "jq Remv jq [1]\n"
        "never E: Unable to locate package never failed\n"
        "libc-bin E: Essential packages were removed and -y was used without --allow-remove-essential. failed\n"
        "same\n"
    )
    found = TakenAlong().process(["docker.io", "jq", "never", "libc-bin", "same"], output)
    assert (found["docker.io"], found["jq"], found["never"], found["same"]) == (("docker-compose",), (), (), ())
    assert isinstance(found["libc-bin"], Unknown)
    assert "Essential packages" in found["libc-bin"].reason


def test_needs() -> None:
    assert list(Package(name="jq").needs()) == ["apt_repository:*"]


REPOSITORY = """\
set -eu; umask 022; mkdir -p /srv/kb-debs; cd /srv/kb-debs
for n in kb-pinned kb-held kb-gone; do for v in 1.0 2.0; do
mkdir -p build/DEBIAN; f=${n}_$v.deb
printf 'Package: %s\\nVersion: %s\\nArchitecture: all\\n' $n $v > build/DEBIAN/control
printf 'Maintainer: kbstate\\nDescription: test\\n' >> build/DEBIAN/control
[ -e $f ] || dpkg-deb --root-owner-group --build build $f > /dev/null; cp build/DEBIAN/control $f.entry
printf 'Filename: ./%s\\nSize: %s\\nSHA256: %s\\n\\n' $f $(stat -c %s $f) $(sha256sum $f | cut -d' ' -f1) >> $f.entry
done; done; cat *.entry > Packages; rm -rf build
echo 'deb [trusted=yes] file:/srv/kb-debs ./' > /etc/apt/sources.list.d/kb-debs.list
"""
"""Two versions of each of three packages, in a repository on the host itself."""


def lab(name: str, field: str, drift: str, **fields: Any) -> LabCase:
    package = Package(name=name, **fields)
    return LabCase((package,), package.address, field, drift, prepare=REPOSITORY)


LAB_CASES: list[LabCase] = [
    lab("kb-pinned", "version", "dpkg -i /srv/kb-debs/kb-pinned_2.0.deb", version="1.0"),
    lab("kb-held", "held", "apt-mark unhold kb-held", held=True),
    lab("kb-gone", "", "apt-get -qq -y remove kb-gone", version="1.0"),
]
