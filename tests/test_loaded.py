"""Whether a process has taken up its files: stamps, and what is owed without one."""

from __future__ import annotations

import hashlib
import subprocess

import pytest

from kbstate import loaded
from kbstate.kinds.directory import Directory
from kbstate.kinds.file import File
from kbstate.loaded import STALE, Stamps, Watched, declared_digest, loaded_digest, stamp_script, watched
from kbstate.paths import PathState
from kbstate.resource import Read
from kbstate.secret import Secret
from tests.real import alone

CONF = File(path="/etc/kb.conf", content="a = 1\n")
HIDDEN = File(path="/etc/kb.secret", content=Secret("s3cret"))
BY_ADDRESS = {CONF.address: CONF, HIDDEN.address: HIDDEN, "directory:/etc": Directory(path="/etc")}
FILES = watched((CONF.address, HIDDEN.address), BY_ADDRESS.get)
STARTED = 1000.0


def state(content: bytes, changed: float = STARTED - 1) -> PathState:
    sha256 = hashlib.sha256(content).hexdigest()
    return PathState("file", "0644", "0", "0", "root", "root", len(content), changed, "", sha256)


LIVE = {"file0": state(b"a = 1\n"), "file1": state(b"s3cret")}


def test_what_is_watched() -> None:
    digests = [hashlib.sha256(content).hexdigest() for content in (b"a = 1\n", b"s3cret")]
    assert (
        Watched(path="/etc/kb.conf", expected=digests[0], sha256=digests[0]),
        Watched(path="/etc/kb.secret", expected="", sha256=digests[1]),  # a plain hash of it is not asked about
    ) == FILES
    assert watched(("directory:/etc", "file:/not/declared"), BY_ADDRESS.get) == ()


def test_reads_ask_as_the_kind_of_the_file_does() -> None:
    reads = loaded.reads("unit/kb.service", FILES)
    assert set(reads) == {"stamp", "file0", "file1"}
    for name, file in (("file0", CONF), ("file1", HIDDEN)):
        assert reads[name] == file.reads()["state"]
    assert reads["stamp"] == Read(Stamps, "unit/kb.service")
    assert loaded.reads("unit/kb.service", ()) == {}


def test_without_files_nothing_is_owed() -> None:
    assert declared_digest(()) is None
    assert loaded_digest((), "i", STARTED, None, {}) is None


@pytest.mark.parametrize(
    ("stamp", "live", "answer"),
    [
        (None, LIVE, declared_digest(FILES)),
        (None, {**LIVE, "file0": state(b"a = 1\n", STARTED + 1)}, STALE),
        (None, {**LIVE, "file1": None}, STALE),
        ("process digest", {**LIVE, "file0": state(b"x", STARTED + 1)}, "digest"),
        ("another digest", LIVE, declared_digest(FILES)),
        ("another digest", {**LIVE, "file0": state(b"x", STARTED + 1)}, STALE),
    ],
)
def test_loaded_digest(stamp: str | None, live: dict[str, PathState | None], answer: str) -> None:
    assert loaded_digest(FILES, "process", STARTED, stamp, live) == answer


def test_other_content_from_before_the_start_is_another_digest() -> None:
    found = loaded_digest(FILES, "process", STARTED, None, {**LIVE, "file0": state(b"a = 2\n")})
    assert found not in (STALE, declared_digest(FILES))


def test_the_digest_depends_on_path_and_content() -> None:
    others = [FILES[0].model_copy(update={"path": "/x"}), FILES[0].model_copy(update={"sha256": "0"})]
    assert len({declared_digest((item,)) for item in (FILES[0], *others)}) == 3


def run(script: str) -> subprocess.CompletedProcess[bytes]:
    """With a /run of its own."""
    return alone(f"unshare --mount sh -s <<'KBSTATE_OUTER'\nmount -t tmpfs kb /run || exit 99\n{script}\nKBSTATE_OUTER")


def test_a_stamp_is_written_and_read() -> None:
    names = ["unit/kb@a.service", "unit/kb.service.reload", "container/haproxy"]
    write = stamp_script(names[0], "echo inv0cation", "d1gest") + "\n" + stamp_script(names[2], "echo 1 2>&1", "x")
    done = run(f"set -eu\n{write}\n{Stamps().command(names)}\nstat -c %a /run/kbstate/loaded/container/haproxy")
    assert done.returncode == 0, done.stderr.decode()
    output, _, mode = done.stdout.decode().rpartition("\n600")
    assert mode == "\n"
    assert Stamps().process(names, output + "\n") == {names[0]: "inv0cation d1gest", names[1]: None, names[2]: "1 x"}


def test_a_process_that_is_gone_gets_no_stamp() -> None:
    script = stamp_script("unit/kb.service", "false", "digest")
    done = run(f"{script} || echo failed\n{Stamps().command(['unit/kb.service'])}")
    assert done.stdout == b"failed\n"
