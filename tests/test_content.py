"""Files and templates: bytes as they are, secrets that stay secrets, and errors with a place."""

import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from kbstate.content import LARGEST, from_file, template
from kbstate.errors import DesiredError
from kbstate.secret import Secret

PASSWORD = Secret("hunter2", "redis.env: PASSWORD")


def rendered(path: Path, text: str, **values: object) -> str | Secret:
    (path / "a.j2").write_text(text)
    return template(path / "a.j2", **values)


@given(data=st.binary(max_size=80))
def test_from_file_gives_every_byte(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    content = from_file(path)
    assert (content.encode() if isinstance(content, str) else content) == data


def test_from_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data, expected in ((b"a\r\n\xc3\xa9", "a\r\né"), (b"\xff", b"\xff"), (b"a\0", b"a\0"), (b"", "")):
        path.write_bytes(data)
        assert from_file(path) == expected
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(DesiredError, match=r"test_content.py:\d+: \S+file is larger than 67108864 bytes: it cannot be"):
        from_file(path)
    with pytest.raises(DesiredError, match=r"test_content.py:\d+: \S+none cannot be read: No such file or directory$"):
        from_file(tmp_path / "none")


def test_relative_paths_are_beside_the_calling_file() -> None:
    text = from_file("test_content.py")
    assert isinstance(text, str)
    assert text == Path(__file__).read_text()


def test_template(tmp_path: Path) -> None:
    (tmp_path / "part.j2").write_text("part {{ a }}\n")
    text = "{% for n in names %}{{ n }} {% endfor %}<{{ a }}>\n{% include 'part.j2' %}\n"
    assert rendered(tmp_path, text, names=("x", "y"), a="&") == "x y <&>\npart &\n\n"


@dataclass
class Account:
    name: str
    password: Secret


class Model(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    password: Secret


SECRETS: list[tuple[str, object]] = [
    ("{{ v }}", PASSWORD),
    ("{{ v | upper | lower }}", PASSWORD),
    ("{{ v.p }}", {"p": PASSWORD}),
    ("{{ v[0][0] }}", [(PASSWORD,)]),
    ("{{ v.password }}", Account("a", PASSWORD)),
    ("{{ v.password }}", Model(password=PASSWORD)),
    ("{{ v() }}", lambda: PASSWORD),
    ("{{ v() | upper | lower }}", lambda: PASSWORD),
    ("{{ v.password | upper | lower }}", Account("a", PASSWORD)),
    ("{{ [v] | map(attribute='password') | map('upper') | first | lower }}", Model(password=PASSWORD)),
    ("{{ v.password ~ '' }}", type("Plain", (), {"password": PASSWORD})),
]


@pytest.mark.parametrize(("text", "value"), SECRETS)
def test_a_secret_makes_a_secret(tmp_path: Path, text: str, value: object) -> None:
    result = rendered(tmp_path, f"requirepass {text}", v=value)
    assert isinstance(result, Secret)
    assert result.reveal() == b"requirepass hunter2"
    assert result.label == "a.j2"


def test_a_secret_that_is_passed_but_not_shown_makes_a_secret_too(tmp_path: Path) -> None:
    assert isinstance(rendered(tmp_path, "{% if v == 'hunter2' %}yes{% endif %}", v=PASSWORD), Secret)


@pytest.mark.parametrize("value", [Account("a", PASSWORD), Model(password=PASSWORD), {"a": [PASSWORD]}])
def test_an_object_that_holds_a_secret_makes_a_secret_too(tmp_path: Path, value: object) -> None:
    assert isinstance(rendered(tmp_path, "{% if v %}yes{% endif %}", v=value), Secret)


def test_objects_without_secrets_stay_what_they_are(tmp_path: Path) -> None:
    assert rendered(tmp_path, "{{ v.is_absolute() }}", v=Path("/a/b")) == "True"


FAULTS = [
    ("a\n{{ x }}", {}, "a.j2:2: 'x' is undefined"),
    ("a\n{{ v.y }}", {"v": {"x": 1}}, "a.j2:2: 'dict object' has no attribute 'y'"),
    ("a\nb\n{% if %}", {}, "a.j2:3: Expected an expression, got 'end of statement block'"),
    ("a\n{{ x | nothing }}", {}, "a.j2:2: No filter named 'nothing'."),
    ("{% include 'none.j2' %}", {}, "a.j2:1: there is no template none.j2"),
    ("\n{% include 'bad.j2' %}", {}, "bad.j2:2: 'z' is undefined"),
    ("\n\n{{ 1 / v }}", {"v": 0}, "a.j2:3: ZeroDivisionError: division by zero"),
    ("a\n{{ {}[v] }}", {"v": PASSWORD}, "a.j2:2: 'dict object' has no attribute '(sensitive)'"),
    ("{{ v + 1 }}", {"v": PASSWORD}, "a.j2:1: TypeError: "),
    ("{{ v }}", {"v": Secret(b"\xff")}, "a.j2:1: the template, or a secret that it is given, is not UTF-8"),
    (
        "{% for s in w() %}{{ s | upper }}{{ s }}{% endfor %}",
        {"w": lambda: iter([PASSWORD])},
        "a.j2:1: a secret reached",
    ),
]


@pytest.mark.parametrize(("text", "values", "message"), FAULTS)
def test_faults(tmp_path: Path, text: str, values: dict[str, object], message: str) -> None:
    (tmp_path / "bad.j2").write_text("\n{{ z }}\n")
    with pytest.raises(DesiredError) as caught:
        rendered(tmp_path, text, **values)
    said = str(caught.value).replace(f"{tmp_path}/", "")
    assert said.startswith(message)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)).replace('"hunter2"', "")
    assert caught.value.__context__ is None


def test_no_template(tmp_path: Path) -> None:
    with pytest.raises(DesiredError, match=r"test_content.py:\d+: there is no template \S+none.j2$"):
        template(tmp_path / "none.j2")
    (tmp_path / "latin.j2").write_bytes(b"\xe9")
    with pytest.raises(DesiredError, match=r"latin.j2:1: the template, or a secret that it is given, is not UTF-8"):
        template(tmp_path / "latin.j2")
