"""What of the lab can be tested without one: recipes, images, trust in words, and what is said where no lab can run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbstate.credentials import parse
from kbstate.lab import archive, credentials, images, inventory, limits, requirements, trust
from kbstate.lab.errors import LabError
from kbstate.lab.lab import Lab
from kbstate.lab.places import SOURCE, checked_name, discard, write_json

SOURCES = """# comment
Types: deb
URIs: https://user.example/debian/
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://user.example/debian-security
Suites: bookworm-security
Components: main
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An apt configuration of our own, read instead of the machine's."""
    monkeypatch.setattr(archive, "_APT", tmp_path)
    archive.archive_uri.cache_clear()
    (tmp_path / "sources.list.d").mkdir()
    yield tmp_path
    archive.archive_uri.cache_clear()


def test_the_archive_is_read_from_the_machines_own_sources(apt: Path) -> None:
    (apt / "sources.list.d/debian.sources").write_text(SOURCES)
    assert archive.archive_uri() == "https://user.example/debian"
    assert archive.archive_host() == "user.example"
    assert archive.archive_port() == 80
    assert archive.sources_list().splitlines() == [
        "deb http://user.example/debian bookworm main",
        "deb http://user.example/debian bookworm-updates main",
        "deb http://user.example/debian-security bookworm-security main",
    ]


def test_the_archive_in_one_line_style_with_options_and_a_port(apt: Path) -> None:
    (apt / "sources.list").write_text("deb [ arch=amd64 ] http://other.example:8080/tools stable main\n")
    with (apt / "sources.list").open("a") as sources:
        sources.write("deb [arch=amd64] http://near.example:8080/debian bookworm main\n")
    assert archive.archive_uri() == "http://near.example:8080/debian"
    assert (archive.archive_host(), archive.archive_port()) == ("near.example", 8080)


def test_no_archive_is_one_sentence(apt: Path) -> None:
    with pytest.raises(LabError, match="this machine's apt configuration names no Debian archive"):
        archive.archive_uri()


@pytest.mark.parametrize("name", ["", "A", "a-b", "a b", "1a", "a" * 13, "../x", "a\n"])
def test_names_that_could_meet_anothers_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="cannot name a lab"):
        checked_name(name)


def test_hosts_have_the_addresses_of_the_site() -> None:
    known = {host.name: host.private for host in inventory.HOSTS.values()}
    assert known["install-01"] == "10.0.0.250"
    assert [known[f"haproxy-{n:02}"] for n in (1, 2)] == ["10.0.0.11", "10.0.0.12"]
    assert [known[name] for name in ("db-master-01", "db-slave-01", "db-slave-02")] == [
        "10.0.0.120",
        "10.0.0.121",
        "10.0.0.122",
    ]
    assert [known[f"redis-{n:02}"] for n in (1, 2, 3)] == ["10.0.0.123", "10.0.0.124", "10.0.0.125"]
    assert [known[f"queue-{n:02}"] for n in (1, 2, 3)] == ["10.0.0.126", "10.0.0.127", "10.0.0.128"]
    addresses = [address for host in inventory.HOSTS.values() for address in host.addresses]
    assert len(addresses) == len(set(addresses))


def test_one_host_of_a_cluster_brings_the_others() -> None:
    wanted = [host.name for host in Lab("x")._wanted(["redis-02", "bare-01"])]
    assert wanted == ["install-01", "redis-02", "bare-01", "redis-01", "redis-03"]


def test_the_verifier_is_of_the_password() -> None:
    scheme, parameters, keys = credentials.DATABASE_VERIFIER.split("$")
    iterations, salt = parameters.split(":")
    stored, server = map(base64.b64decode, keys.split(":"))
    password = credentials.DATABASE_PASSWORD.encode()
    salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(salt), int(iterations))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    assert scheme == "SCRAM-SHA-256"
    assert hashlib.sha256(client_key).digest() == stored
    assert hmac.digest(salted, b"Server Key", "sha256") == server


@pytest.mark.parametrize("name", sorted(credentials.FILES))
def test_credential_files_are_read_back_as_they_are(name: str) -> None:
    values = credentials.FILES[name]
    assert parse(credentials.text(values).encode(), name) == values


# Images


def filled(root: Path, when: int) -> Path:
    for path in ("usr/bin/program", "etc/passwd", "a/deep/file"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
        os.utime(root / path, (when, when))
    (root / "bin").symlink_to("usr/bin")
    return root


def test_an_image_is_the_same_to_the_last_byte(tmp_path: Path) -> None:
    image = images.IMAGES[0]
    for name, when in (("one", 1_000_000_000), ("two", 1_500_000_000)):
        images.write_archive(image, filled(tmp_path / name, when), tmp_path / f"{name}.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert not list(tmp_path.glob("*.layer"))


def test_an_image_keeps_the_contract_of_the_official_one(tmp_path: Path) -> None:
    image = images.IMAGES[0]
    images.write_archive(image, filled(tmp_path / "root", 0), tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as saved:
        manifest = json.loads(saved.extractfile("manifest.json").read())  # type: ignore[union-attr]
        config = json.loads(saved.extractfile(manifest[0]["Config"]).read())  # type: ignore[union-attr]
        layer = saved.extractfile(manifest[0]["Layers"][0]).read()  # type: ignore[union-attr]
    assert manifest[0]["RepoTags"] == ["library/haproxy:2.8.5", "library/haproxy:2.8.5-bookworm"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    assert config["config"]["User"] == "haproxy"
    assert config["config"]["StopSignal"] == "SIGUSR1"
    assert "HAPROXY_VERSION=2.8.5" in config["config"]["Env"]
    assert (image.user, image.uid) == ("haproxy", 99)


@pytest.mark.parametrize(
    ("words", "run"),
    [
        (["haproxy", "-f", "x"], "haproxy -W -db -f x"),
        (["-f", "x"], "haproxy -W -db -f x"),
        (["sh", "-c", "true"], "sh -c true"),
        (["haproxy"], "haproxy -W -db"),
    ],
)
def test_the_entrypoint_of_haproxy(tmp_path: Path, words: list[str], run: str) -> None:
    for program in ("haproxy", "sh"):
        (tmp_path / program).write_text(f'#!/bin/bash\necho {program} "$@"\n')
        (tmp_path / program).chmod(0o755)
    script = images.IMAGES[0].files["usr/local/bin/docker-entrypoint.sh"]
    argv = ["/bin/sh", "-c", script, "entrypoint", *words]
    done = subprocess.run(argv, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == run


# Files, limits, trust


def test_the_fingerprint_is_what_ssh_shows(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    shown = subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True).stdout.split()[1]
    assert trust.fingerprint(" ".join(key.with_suffix(".pub").read_text().split()[:2])) == shown


def test_the_limit_is_raised_while_a_lab_is_up_and_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBSTATE_LAB_DIR", str(tmp_path))
    limit = tmp_path / "max_user_instances"
    limit.write_text("128\n")
    monkeypatch.setattr(limits, "_INSTANCES", limit)
    (tmp_path / "labs/one").mkdir(parents=True)
    limits.make_room()
    limits.make_room()
    limits.give_back()
    assert limit.read_text() == str(limits.ENOUGH), "a lab is still up"
    (tmp_path / "labs/one").rmdir()
    limits.give_back()
    assert limit.read_text() == "128"
    limits.give_back()
    (tmp_path / "labs/two").mkdir()
    limits.make_room()
    limit.write_text("9000")
    (tmp_path / "labs/two").rmdir()
    limits.give_back()
    assert limit.read_text() == "9000", "somebody else has set it"


def test_a_tree_goes_at_once_and_a_file_comes_whole(tmp_path: Path) -> None:
    (tmp_path / "tree/deep").mkdir(parents=True)
    discard(tmp_path / "tree")
    discard(tmp_path / "tree")
    write_json(tmp_path / "file.json", {"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


# Where no lab can run


def pytest_without_namespaces(**environment: str) -> subprocess.CompletedProcess[str]:
    argv = ["setpriv", "--bounding-set=-sys_admin"] if os.geteuid() == 0 else []
    argv += [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "tests/lab/test_lab_life.py"]
    argv += ["tests/lab/test_lab_pieces.py", "-k", "errors_are_one_sentence or read_back"]
    env = {**{name: value for name, value in os.environ.items() if name != "CI"}, **environment}
    return subprocess.run(argv, env=env, cwd=SOURCE, capture_output=True, text=True, check=False)


def test_lab_tests_are_left_out_with_the_reason() -> None:
    done = pytest_without_namespaces()
    assert done.returncode == 0, done.stdout
    assert "LEFT OUT: 5 tests on lab hosts, because the lab needs " in done.stdout
    assert "4 passed" in done.stdout
    assert "skipped" not in done.stdout


def test_under_ci_a_missing_lab_is_a_failure() -> None:
    done = pytest_without_namespaces(CI="true")
    assert done.returncode == 1
    assert "5 errors" in done.stdout or "5 failed" in done.stdout, done.stdout
    assert "the lab needs " in done.stdout


def test_the_command_line_says_why_no_lab_can_run() -> None:
    argv = [sys.executable, "-m", "kbstate.lab", "up"]
    if os.geteuid() == 0:
        argv = ["setpriv", "--bounding-set=-sys_admin", *argv]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=SOURCE)
    assert done.returncode == 1
    assert done.stderr.startswith("the lab needs ")
    assert done.stderr.count("\n") == 1


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda program, path: None if program == "skopeo" else "/x")
    expected = "the lab needs Debian packages that are not installed here: apt-get install skopeo"
    assert requirements.unavailable() == expected


def test_without_root_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert requirements.unavailable() == "the lab needs root: it makes namespaces, mounts and network interfaces"
