"""What lies at a path, read and changed for real below a temporary directory."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kbstate import paths
from kbstate.paths import LARGEST, PathQuery, Paths, PathState, parents, write_file
from kbstate.resource import Unknown
from kbstate.secret import Secret
from tests.real import ask, here

HOSTILE = [
    "a b",
    "a'b",
    'a"b',
    "a$(id)b",
    "a`id`b",
    "a;b&c|d",
    "a\\b",
    "a\\nb\\",
    "-rf",
    "*",
    "a|b",
    "é…",
    "%s%n",
    "#",
    "~",
    "{path}",
    "x" * 255,
    "é" * 127,
]


def state(path: Path, expected: str | None = None) -> PathState | Unknown | None:
    found: PathState | Unknown | None = ask(Paths(), [PathQuery(str(path), expected)])[PathQuery(str(path), expected)]
    return found


def known(path: Path, expected: str | None = None) -> PathState:
    found = state(path, expected)
    assert isinstance(found, PathState), found
    return found


def run(operation: Iterable[str]) -> subprocess.CompletedProcess[bytes]:
    [script] = operation
    return here(script)


def put(path: Path, content: bytes | Secret, **attributes: str | None) -> None:
    done = run(write_file(str(path), content, **{"owner": None, "group": None, "mode": None, **attributes}))
    assert done.returncode == 0, done.stderr.decode()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


# --- reading ----------------------------------------------------------------------------------------------------


def test_every_type_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "directory").mkdir()
    (tmp_path / "symlink").symlink_to("to|where\0"[:-1])
    os.mkfifo(tmp_path / "fifo")
    for name in ("file", "directory", "symlink", "fifo"):
        assert known(tmp_path / name).type == name
    assert known(tmp_path / "symlink").target == "to|where"
    assert known(Path("/dev/null")).type == "character device"


def test_many_paths_are_read_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "a|b").symlink_to("b|c")
    (tmp_path / "dangling").symlink_to("nowhere")
    queries = [PathQuery(str(tmp_path / name)) for name in ("a", "a|b", "dangling", "gone", "a/below", "gone/below")]
    found = ask(Paths(), queries)
    types = [getattr(found[query], "type", found[query]) for query in queries]
    assert types == ["file", "symlink", "symlink", None, None, None]


def test_what_cannot_be_looked_at_is_not_absent(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    assert state(loop / "below") == Unknown("Too many levels of symbolic links")
    assert state(tmp_path / ("x" * 300)) == Unknown("File name too long")


def test_what_cannot_be_read_is_unknown() -> None:
    query = PathQuery("/x", "")
    found = encoded("f|644|0|0|root|root|3|1.5|/x\0\0")
    denied = f"N {encoded('/x' + chr(0))} {encoded('stat: cannot statx: Permission denied')}"
    assert Paths().process([query], found + "\n") == {query: Unknown("its content cannot be read")}
    assert Paths().process([query], "\n") == {query: Unknown("it vanished while it was read")}
    assert Paths().process([query], "\n" + denied) == {query: Unknown("Permission denied")}


def test_content_is_sent_only_where_it_differs(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\x00\xff new")
    right = hashlib.sha256(b"\x00\xff new").hexdigest()
    assert (known(file, right).content, known(file, right).sha256) == (None, right)
    assert known(file, hashlib.sha256(b"old").hexdigest()).content == b"\x00\xff new"
    assert known(file, "").content == b"\x00\xff new"
    assert known(file).sha256 is None


def test_two_may_ask_about_one_path(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    queries = [PathQuery(str(file), hashlib.sha256(text).hexdigest()) for text in (b"x", b"y")] + [PathQuery(str(file))]
    found = ask(Paths(), queries)
    assert [found[query].content for query in queries] == [b"x", b"x", None]


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert known(tmp_path / "empty", "").content == b""


def test_a_large_file(tmp_path: Path) -> None:
    large = tmp_path / "large"
    put(large, b"\n5 MB\x00" * 1_000_000)
    assert large.read_bytes() == b"\n5 MB\x00" * 1_000_000
    found = known(large, "")
    assert (found.size, found.content) == (6_000_000, None)
    assert found.size > LARGEST
    assert found.sha256 == hashlib.sha256(b"\n5 MB\x00" * 1_000_000).hexdigest()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(tmp_path: Path, name: str) -> None:
    if len(name.encode()) < 200:
        tmp_path = tmp_path / name
        tmp_path.mkdir()
    file = tmp_path / name
    put(file, name.encode())
    assert known(file, "").content == name.encode()
    assert known(file, hashlib.sha256(name.encode()).hexdigest()).content is None
    assert names(tmp_path) == [name]
    assert run(paths.set_attributes(str(file), None, None, "0600")).returncode == 0
    assert known(file).mode == "0600"
    assert run(paths.remove_file(str(file))).returncode == 0
    assert state(file, "") is None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_content_is_written_as_it_is(tmp_path: Path, content: bytes) -> None:
    put(tmp_path / "file", content)
    assert known(tmp_path / "file", "").content == content


# --- writing ----------------------------------------------------------------------------------------------------


def test_a_new_file_is_roots_and_a_secret_is_for_nobody_else(tmp_path: Path) -> None:
    put(tmp_path / "plain", b"x")
    put(tmp_path / "hidden", Secret("x"))
    assert [oct((tmp_path / name).stat().st_mode & 0o7777) for name in ("plain", "hidden")] == ["0o644", "0o600"]
    assert (tmp_path / "plain").stat().st_uid == os.geteuid()


@pytest.mark.parametrize("mode", ["4755", "2711", "6750", "0600"])
def test_what_is_not_declared_is_kept(tmp_path: Path, mode: str) -> None:
    """A change of owner takes setuid away, and must not here."""
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(int(mode, 8))
    put(file, b"new")
    assert known(file).mode == mode
    put(file, b"new", owner="root", group="0")
    assert known(file).mode == mode
    assert run(paths.set_attributes(str(file), "root", "root", None)).returncode == 0
    assert known(file).mode == mode


def test_a_declared_mode_is_set_exactly(tmp_path: Path) -> None:
    directory, file = tmp_path / "directory", tmp_path / "file"
    directory.mkdir()
    for path in (directory, file):
        put(file, b"x", mode="4755")
        directory.chmod(0o7777)
        assert run(paths.set_attributes(str(path), "root", "root", "0750")).returncode == 0
        assert known(path).mode == "0750"  # chmod(1) alone keeps setgid of a directory


def test_a_failed_validation_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"good")
    arguments = {"owner": None, "group": None, "mode": None}
    done = run(
        write_file(str(file), b"bad", **arguments, validate="grep good {path} || { echo refused: {path}; false; }")
    )
    assert done.returncode != 0
    assert done.stderr.startswith(b"refused: ")
    assert file.read_bytes() == b"good"
    assert names(tmp_path) == ["file"]
    assert run(write_file(str(file), b"good again", **arguments, validate="grep good {path}")).returncode == 0
    assert file.read_bytes() == b"good again"


def test_a_write_goes_to_the_place_and_not_through_a_link(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_bytes(b"precious")
    link.symlink_to(victim)
    put(link, b"new")
    assert victim.read_bytes() == b"precious"
    assert not link.is_symlink()
    link.unlink()
    link.symlink_to(victim)
    done = run(paths.set_attributes(str(link), "root", "root", "0777"))
    assert done.returncode != 0
    assert b"is a symlink" in done.stderr
    assert known(victim).mode == "0644"


def test_a_hard_link_keeps_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    os.link(tmp_path / "file", tmp_path / "other")
    put(tmp_path / "file", b"new")
    assert (tmp_path / "other").read_bytes() == b"old"


def test_a_directory_is_neither_replaced_nor_removed_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert run(write_file(str(tmp_path / "d"), b"x", owner=None, group=None, mode=None)).returncode != 0
    assert run(paths.remove_file(str(tmp_path / "d"))).returncode != 0
    assert names(tmp_path) == ["d"]


def test_a_secret_is_in_no_argument_list(tmp_path: Path) -> None:
    """It goes in by a here-document: a command that prints its own arguments does not show it."""
    [script] = write_file(
        str(tmp_path / "f"),
        Secret("tr0ub4dor&3"),
        owner=None,
        group=None,
        mode=None,
        validate="cat /proc/$PPID/cmdline",
    )
    assert "tr0ub4dor" not in script
    assert b"dHIwdWI0ZG9y" not in here(script).stderr


# --- directories and links --------------------------------------------------------------------------------------


def test_a_directory_is_made_and_removed_when_empty(tmp_path: Path) -> None:
    directory = str(tmp_path / "a b")
    assert run(paths.make_directory(directory, None, None, None)).returncode == 0
    assert known(Path(directory)).mode == "0755"
    Path(directory, "precious").touch()
    done = run(paths.remove_directory(directory))
    assert done.returncode != 0
    assert b"is not empty: it holds precious" in done.stderr
    Path(directory, "precious").unlink()
    assert run(paths.remove_directory(directory)).returncode == 0
    assert state(Path(directory)) is None


def test_a_directory_that_was_made_meanwhile_gets_what_is_declared(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(0o700)
    assert run(paths.make_directory(str(there), None, None, None)).returncode == 0
    assert known(there).mode == "0700"
    assert run(paths.make_directory(str(there), "root", "root", "0750")).returncode == 0
    assert known(there).mode == "0750"
    (tmp_path / "link").symlink_to(there)
    assert run(paths.make_directory(str(tmp_path / "link"), None, None, None)).returncode != 0


def test_a_directory_below_nothing_says_what_to_declare(tmp_path: Path) -> None:
    done = run(paths.make_directory(str(tmp_path / "no\\t" / "below"), None, None, None))
    assert done.returncode != 0
    assert done.stderr.decode() == f"{tmp_path}/no\\t is not there: declare Directory for it\n"


def test_a_directory_below_one_with_setgid_has_the_mode_that_is_declared(tmp_path: Path) -> None:
    tmp_path.chmod(0o2755)
    assert run(paths.make_directory(str(tmp_path / "below"), "root", "root", "0700")).returncode == 0
    assert known(tmp_path / "below").mode == "0700"


@pytest.mark.parametrize("target", [*HOSTILE, "/etc/x y", "../..", "nowhere"])
def test_a_link_is_made_and_led_elsewhere(tmp_path: Path, target: str) -> None:
    link = tmp_path / "link"
    assert run(paths.make_symlink(str(link), "first")).returncode == 0
    assert run(paths.make_symlink(str(link), target)).returncode == 0
    assert known(link).target == target
    assert names(tmp_path) == ["link"]


def test_a_link_to_a_directory_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    assert run(paths.make_symlink(str(tmp_path / "link"), "elsewhere")).returncode == 0
    assert known(tmp_path / "link").target == "elsewhere"
    assert names(tmp_path / "d") == []


@pytest.mark.parametrize("sort", ["file", "directory"])
def test_a_link_takes_the_place_of_nothing_else(tmp_path: Path, sort: str) -> None:
    place = tmp_path / "place"
    place.mkdir() if sort == "directory" else place.write_bytes(b"precious")
    done = run(paths.make_symlink(str(place), "x"))
    assert done.returncode != 0
    assert b"is there and is no symlink" in done.stderr
    assert known(place).type == sort


def test_parents() -> None:
    assert list(parents("/a/b/c")) == ["/a/b", "/a", "/"]
