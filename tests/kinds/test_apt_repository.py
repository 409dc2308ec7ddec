"""APT repositories: the file written and read, and what APT itself says of a wrong key."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.kinds.apt_repository import AptRepository, read, render, stanzas
from kbstate.paths import PathState
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, scripts, steps_of
from tests.real import AS_ROOT, ENVIRONMENT, Runner, converge, look

DATA = Path(__file__).parent / "apt"
ONE, TWO = (DATA / "one.asc").read_text(), (DATA / "two.asc").read_text()
BINARY = base64.b64decode("".join(ONE.split("\n\n")[1].split("\n")[:-3]))

DESIRED = AptRepository(
    name="docker",
    uris=("https://download.docker.com/linux/debian",),
    suites=("bookworm",),
    components=("stable",),
    architectures=("amd64",),
    signing_key=ONE,
)
TEXT = """\
# written by kbstate
Types: deb
URIs: https://download.docker.com/linux/debian
Suites: bookworm
Components: stable
Architectures: amd64
Signed-By: /etc/apt/keyrings/docker.asc
"""


def state(text: str = TEXT, **changed: Any) -> PathState:
    values = {"type": "file", "mode": "0644", "uid": "0", "gid": "0", "user": "root", "group": "root", "target": ""}
    return PathState(**{**values, "size": 1, "changed": 1.0, "sha256": "0", "content": text.encode(), **changed})


def fields(live: PathState, key: PathState | None) -> dict[str, Any]:
    found = change_of(DESIRED, {"state": live, "key": key})
    assert found is None or [s.op.__name__ for s in steps_of(found)] == ["put_repository"]  # type: ignore[union-attr]
    return {d.path: (d.before, d.after) for d in found.diff} if found else {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEXT, {}),
        (TEXT.replace("URIs: ", "uris:\n  ").replace("Types", "# c\nTypes") + "\n\n", {}),
        (TEXT.replace("deb\n", "deb deb-src\n", 1), {"types[1]": ("deb-src", None)}),
        (TEXT.replace("bookworm", "trixie"), {"suites[0]": ("trixie", "bookworm")}),
        (TEXT.replace("stable", "test"), {"components[0]": ("test", "stable")}),
        (TEXT.replace("amd64", "arm64"), {"architectures[0]": ("arm64", "amd64")}),
        (TEXT.replace("https", "http"), {"uris[0]": ("http" + DESIRED.uris[0][5:], DESIRED.uris[0])}),  # type: ignore[index]
        (TEXT + "Enabled: no\n", {"enabled": (False, True)}),
        (TEXT + "Trusted: yes\n", {"strays[0]": ("trusted: yes", None)}),
        (TEXT + "\nTypes: deb\nURIs: http://x\n", {"strays[0]": ("a stanza for http://x", None)}),
        (TEXT.replace("docker.asc", "other.asc"), {"strays[0]": ("Signed-By: /etc/apt/keyrings/other.asc", None)}),
        (TEXT.partition("Signed")[0], {"strays[0]": ("Signed-By is missing", None)}),
    ],
)
def test_update(text: str, expected: dict[str, Any]) -> None:
    assert fields(state(text), state(ONE)) == expected


def test_the_key_and_who_may_read_it() -> None:
    assert fields(state(), state(TWO)) == {"signing_key": (TWO, ONE)}
    assert fields(state(), None) == {"signing_key": ("", ONE)}
    assert fields(state(), state(ONE, mode="0600")) == {"readable": (False, True)}
    assert fields(state(uid="7"), state(ONE)) == {"readable": (False, True)}
    assert fields(state(mode="0646"), state(ONE)) == {"readable": (False, True)}


def test_without_a_key_of_its_own() -> None:
    plain = AptRepository(name="x", uris=("http://archive.example/debian",), suites=("sid",), components=("main",))
    assert "Signed-By" not in render(plain)
    assert change_of(plain, {"state": state(render(plain))}) is None
    assert set(plain.reads()) == {"state"}


def test_unknown_create_delete() -> None:
    assert isinstance(DESIRED.observe(state(type="symlink"), None), Unknown)
    assert isinstance(DESIRED.observe(state(), state(ONE, type="symlink")), Unknown)
    found = change_of(DESIRED, {"state": None})
    assert found is not None
    [step] = steps_of(found)
    assert (step.args["sources"], step.args["fetch"]) == (TEXT, True)
    gone = change_of(AptRepository(name="docker", absent=True), {"state": state()})
    assert gone is not None
    assert "/etc/apt/keyrings/docker.gpg" in scripts(steps_of(gone)[0])


def test_the_form_of_the_key_is_in_its_name() -> None:
    assert DESIRED.key_path == "/etc/apt/keyrings/docker.asc"
    assert AptRepository(name="docker", signing_key=BINARY).key_path == "/etc/apt/keyrings/docker.gpg"


@pytest.mark.parametrize("key", ["", "x", b"\x00", "-----BEGIN PGP PRIVATE KEY BLOCK-----", b""])
def test_what_is_no_key(key: str | bytes) -> None:
    with pytest.raises(ValidationError):
        AptRepository(name="x", signing_key=key)


def test_problems() -> None:
    def found(**values: Any) -> str:
        fields = {"name": "x", "uris": ("http://x",), "suites": ("a",), "components": ("b",), **values}
        return " ".join(AptRepository(**fields).problems())

    assert found() == ""
    assert found(suites=("./",), components=()) == ""
    assert "uris and suites are missing" in found(uris=None)
    assert "components go with a suite" in found(components=())
    assert "components go with a suite" in found(suites=("a/",))
    assert "/etc/apt/auth.conf.d" in found(uris=("https://user:secret@host/x",))
    assert "observed, not declared" in found(readable=False)
    assert not list(AptRepository(name="x", absent=True).problems())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a/b"),
        ("name", "a.list"),
        ("name", ""),
        ("uris", ("http://a b",)),
        ("uris", ("http://a\nTrusted: yes",)),
        ("uris", ("x",)),
        ("suites", ("a b",)),
        ("suites", ("a\nb",)),
        ("components", ("-x",)),
        ("architectures", ("$(id)",)),
        ("types", ()),
        ("types", ("rpm",)),
    ],
)
def test_hostile(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        AptRepository(**{"name": "x", field: value})


WORDS = st.lists(st.from_regex(r"[a-z][a-z0-9/.-]{0,8}", fullmatch=True), max_size=3).map(tuple)


@given(WORDS, WORDS, WORDS, st.booleans(), st.booleans())
def test_what_is_written_is_read(
    suites: tuple[str, ...], components: tuple[str, ...], architectures: tuple[str, ...], enabled: bool, signed: bool
) -> None:
    lists = {"uris": ("http://x",), "suites": suites, "components": components, "architectures": architectures}
    repository = AptRepository(name="x", **lists, enabled=enabled, signing_key=ONE if signed else None)
    found = read(render(repository), repository.key_path if signed else None)
    assert found == {"types": ("deb",), **lists, "enabled": enabled, "strays": ()}


@given(st.text())
def test_any_file_is_read(text: str) -> None:
    assert all(fields for fields in stanzas(text))
    read(text, None)


# --- with APT itself, in a name space of mounts of its own ------------------------------------------------------

LOCAL = AptRepository(name="kb", uris=("file:/etc/apt/repo",), suites=("./",), signing_key=ONE)


@pytest.fixture
def apt(tmp_path: Path) -> Runner:
    """APT with nothing configured but what a test writes; nothing of this machine's own is touched."""
    for directory in ("etc/repo", "etc/sources.list.d", "etc/preferences.d", "lib/lists/partial", "cache"):
        (tmp_path / directory).mkdir(parents=True)
    for directory in ("etc", "lib", "cache"):
        (tmp_path / directory).chmod(0o755)
    (tmp_path / "etc/repo/Packages").touch()
    (tmp_path / "etc/repo/InRelease").write_bytes((DATA / "InRelease").read_bytes())
    binds = {"etc": "/etc/apt", "lib": "/var/lib/apt", "cache": "/var/cache/apt"}
    mounts = "".join(f"mount --bind {tmp_path}/{name} {place} || exit 99\n" for name, place in binds.items())
    # without root there is no other user to change to
    sandbox = "" if not AS_ROOT else "echo 'APT::Sandbox::User \"root\";' > /etc/apt/apt.conf\n"

    def run(script: str) -> subprocess.CompletedProcess[bytes]:
        command = ["unshare", "--mount", *AS_ROOT[1:], "sh", "-s"]
        text = (mounts + sandbox + script).encode()
        return subprocess.run(command, input=text, env=ENVIRONMENT, capture_output=True, check=False)

    return run


def test_a_signed_repository_is_taken(apt: Runner) -> None:
    created = converge(LOCAL, apt)
    assert created is not None
    assert created.action == "create"
    assert b"InRelease" in apt("ls /var/lib/apt/lists").stdout
    assert apt("ls -A /etc/apt /etc/apt/sources.list.d /etc/apt/keyrings").stdout.count(b"kb") == 2
    assert apt("apt-get update --error-on=any").returncode == 0


def test_a_binary_key_takes_the_place_of_an_armoured_one(apt: Runner) -> None:
    converge(LOCAL, apt)
    updated = converge(LOCAL.model_copy(update={"signing_key": BINARY}), apt)
    assert updated is not None
    assert updated.fields == {"signing_key", "strays"}
    assert apt("ls /etc/apt/keyrings").stdout == b"kb.gpg\n"


def test_a_wrong_key_is_an_error_and_leaves_nothing(apt: Runner) -> None:
    with pytest.raises(AssertionError, match="NO_PUBKEY"):
        converge(LOCAL.model_copy(update={"signing_key": TWO}), apt)
    assert look(LOCAL, apt) is None
    assert apt("ls -A /etc/apt/sources.list.d; find /etc/apt/keyrings -type f; ls -d /etc/apt/.kb*").stdout == b""


def test_a_wrong_key_leaves_the_old_one(apt: Runner) -> None:
    converge(LOCAL, apt)
    with pytest.raises(AssertionError, match="NO_PUBKEY"):
        converge(LOCAL.model_copy(update={"signing_key": TWO}), apt)
    assert converge(LOCAL, apt) is None


def test_a_bad_signature_is_an_error(apt: Runner, tmp_path: Path) -> None:
    release = tmp_path / "etc/repo/InRelease"
    release.write_text(release.read_text().replace("Suite: kb", "Suite: xx"))
    with pytest.raises(AssertionError, match="BADSIG"):
        converge(LOCAL, apt)


def test_an_unsigned_repository_is_an_error(apt: Runner, tmp_path: Path) -> None:
    (tmp_path / "etc/repo/InRelease").unlink()
    with pytest.raises(AssertionError, match="does not have a Release file"):
        converge(LOCAL, apt)


def test_a_source_that_contradicts_another_is_an_error(apt: Runner) -> None:
    converge(LOCAL, apt)
    with pytest.raises(AssertionError, match="Conflicting values set for option Signed-By"):
        converge(LOCAL.model_copy(update={"name": "again"}), apt)
    assert apt("apt-get update --error-on=any").returncode == 0


def test_a_disabled_repository_is_not_fetched(apt: Runner) -> None:
    assert converge(LOCAL.model_copy(update={"uris": ("file:/nowhere",), "enabled": False}), apt) is not None


def test_a_repository_is_removed(apt: Runner) -> None:
    converge(LOCAL, apt)
    assert converge(AptRepository(name="kb", absent=True), apt) is not None
    assert apt("find /etc/apt -name 'kb*'").stdout == b""


# --- on a lab host ----------------------------------------------------------------------------------------------

REPOSITORY = (
    f"mkdir -p /srv/DIR; : > /srv/DIR/Packages; base64 -d > /srv/DIR/InRelease <<X\n"
    f"{base64.encodebytes((DATA / 'InRelease').read_bytes()).decode()}X"
)


def lab(name: str, field: str, drift: str, **more: Any) -> LabCase:
    uris = (f"file:/srv/kb-{name}",)
    fields = {"uris": uris, "suites": ("./",), "signing_key": ONE, **more}
    repository = AptRepository(name=f"kb-{name}", **fields)
    prepare = REPOSITORY.replace("DIR", f"kb-{name}")
    drift = drift.replace("FILE", repository.path).replace("KEY", repository.key_path)
    return LabCase((repository,), repository.address, field, drift, prepare=prepare)


LAB_CASES: list[LabCase] = [
    lab("types", "types", "sed -i 's/^Types: .*/Types: deb-src/' FILE"),
    lab("uris", "uris", "sed -i 's/^URIs: .*/URIs: file:other/' FILE"),
    lab("suites", "suites", "sed -i 's|^Suites: .*|Suites: other/|' FILE"),
    # disabled: this repository has no components, and a source that APT cannot read stops every use of it
    lab(
        "components",
        "components",
        "sed -i 's/^Comp.*/Components: other/' FILE",
        suites=("kb",),
        components=("main",),
        enabled=False,
    ),
    lab("arch", "architectures", "sed -i 's/^Arch.*/Architectures: s390x/' FILE", architectures=("amd64",)),
    lab("enabled", "enabled", "echo 'Enabled: no' >> FILE"),
    lab("key", "signing_key", "echo >> KEY"),
    lab("nokey", "signing_key", "rm KEY"),
    lab("strays", "strays", "echo 'Trusted: yes' >> FILE"),
    lab("readable", "readable", "chmod 0600 KEY"),
    lab("gone", "", "rm FILE"),
]
