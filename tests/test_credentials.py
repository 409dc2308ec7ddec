"""Credentials: how `.env` files read, and that no message shows a value."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbstate.credentials import LARGEST, Credentials, parse
from kbstate.errors import CredentialError

VALUES = [
    ("K=value", "value"),
    ("export K=value", "value"),
    ("  K=value  ", "value"),
    ("K=value # comment", "value"),
    ("K=value#no comment", "value#no comment"),
    ("K=", ""),
    ("K=# comment", ""),
    ("K=''", ""),
    ("K=a b", "a b"),
    ("K='a # b' # comment", "a # b"),
    ('K="a \\"b\\" \\$c \\\\ \\n"', 'a "b" $c \\ \\n'),
    ("K='a\\'", "a\\"),
    ("K=pa'ss", "pa'ss"),
    ("K=a=b==", "a=b=="),
    ("K=$HOME${HOME}$(id)`id`", "$HOME${HOME}$(id)`id`"),
    ('K="$HOME$(id)"', "$HOME$(id)"),
    ("K=héé", "héé"),
    ("# comment\n\nK=value\n", "value"),
    ("\ufeffK=value\r\nL=2\r\n", "value"),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_values(text: str, value: str) -> None:
    assert parse(text.encode(), "f")["K"] == value


FAULTS = [
    (b"A=1\nhunter2\n", "f:2: the line is not KEY=value, without spaces around the '='"),
    (b"K = hunter2", "f:1: the line is not KEY=value, without spaces around the '='"),
    (b"1K=hunter2", "f:1: the line is not KEY=value, without spaces around the '='"),
    (b"export hunter2", "f:1: the line is not KEY=value, without spaces around the '='"),
    (b"K='hunter2", "f:1: K must end with its closing quote, and nothing but a comment after it"),
    (b'K="hunter2\\"', "f:1: K must end with its closing quote, and nothing but a comment after it"),
    (b"K='hunter2'x", "f:1: K must end with its closing quote, and nothing but a comment after it"),
    (b"K=a\nK=hunter2", "f:2: K is set a second time: remove one of the two"),
    (b"K=hunter2\x00", "f:1: K contains a control character"),
    (b"K=hunter2\xff", "f:1: the line is not UTF-8: save the file as UTF-8"),
]


@pytest.mark.parametrize(("data", "message"), FAULTS)
def test_faults(data: bytes, message: str) -> None:
    with pytest.raises(CredentialError) as caught:
        parse(data, "f")
    assert str(caught.value) == message


@given(st.one_of(st.binary(max_size=60), st.text("KL='\"\\ #\n\r$=é", max_size=40).map(str.encode)))
def test_anything_is_values_or_an_error(data: bytes) -> None:
    try:
        values = parse(data, "f")
    except CredentialError as error:
        assert error.where is not None
    else:
        assert all(key.isidentifier() for key in values)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30))
def test_quoted_values_come_back(value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    assert parse(f'K="{escaped}"'.encode(), "f") == {"K": value}


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    (tmp_path / "redis.env").write_text("REDIS_PASSWORD=hunter2\nREDIS_USER=app\nEMPTY=\n")
    (tmp_path / "redis.env").chmod(0o600)
    return Credentials(tmp_path)


def test_secrets(credentials: Credentials) -> None:
    secret = credentials["redis.env", "REDIS_PASSWORD"]
    assert secret.reveal() == b"hunter2"
    assert secret.label == "redis.env: REDIS_PASSWORD"
    assert credentials.text("redis.env", "REDIS_USER") == "app"
    assert credentials.get("redis.env", "NONE") is None
    assert credentials.get("none.env", "NONE") is None
    assert "hunter2" not in f"{credentials!r} {vars(credentials)}"


def refused(credentials: Credentials, file: str = "redis.env", key: str = "REDIS_PASSWORD") -> str:
    with pytest.raises(CredentialError) as caught:
        credentials[file, key]
    return str(caught.value).replace(str(credentials.path), "C")


def test_what_is_missing(credentials: Credentials) -> None:
    assert refused(credentials, "none.env") == "none.env: REDIS_PASSWORD is missing: there is no file C/none.env"
    expected = "redis.env: REDIS_PASS is missing in C/redis.env: did you mean REDIS_PASSWORD or REDIS_USER?"
    assert refused(credentials, key="REDIS_PASS") == expected
    assert refused(credentials, key="EMPTY") == "redis.env: EMPTY is empty in C/redis.env: fill it in"


@pytest.mark.parametrize("name", ["../redis.env", "/etc/passwd", "", ".", "a/b", "a\n"])
def test_names_of_files(credentials: Credentials, name: str) -> None:
    assert refused(credentials, name).endswith("is no name of a file of credentials: name one such as redis.env")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_can_read(credentials: Credentials, mode: int) -> None:
    (credentials.path / "redis.env").chmod(mode)
    expected = f"C/redis.env can be read by others (mode {mode:04o}): chmod 600 C/redis.env"
    assert refused(credentials) == expected


def test_examples_are_for_everyone(tmp_path: Path) -> None:
    directory = tmp_path / "credentials.example"
    directory.mkdir()
    (directory / "a.env").write_text("K=v\n")
    (directory / "a.env").chmod(0o644)
    assert Credentials(directory).text("a.env", "K") == "v"


def test_what_is_no_file(credentials: Credentials) -> None:
    (credentials.path / "dir.env").mkdir()
    assert refused(credentials, "dir.env") == "C/dir.env cannot be read: Is a directory"
    large = credentials.path / "large.env"
    large.write_bytes(b"#" * (LARGEST + 1))
    large.chmod(0o600)
    assert refused(credentials, "large.env") == "C/large.env is larger than 1048576 bytes: it is no file of credentials"
