"""Authorized keys: ours by name and by key, everybody else's untouched."""

from __future__ import annotations

import base64
import os
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.kinds.authorized_key import EDIT, AuthorizedKey, KeyFile, KeyFiles, KeyLine, parse
from kbstate.kinds.user import User
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, scripts, steps_of


def public(seed: int, kind: str = "ssh-ed25519") -> str:
    """A well-formed public key that nobody has the other half of."""
    parts = (kind.encode(), bytes([seed]) * 32)
    return f"{kind} {base64.b64encode(b''.join(len(part).to_bytes(4) + part for part in parts)).decode()}"


OURS, OTHER, FOREIGN = public(1), public(2), public(3)
DESIRED = AuthorizedKey(
    user="kb", name="root@install-01", public_key=f"{OURS} whatever", options=('from="10.0.0.0/16"', "no-pty")
).bound(lambda address: None)
LINE = f'from="10.0.0.0/16",no-pty {OURS} root@install-01'


def file(text: str, strict: bool = True, trouble: str = "") -> dict[str, KeyFile]:
    return {"file": KeyFile(tuple(parse(text)), strict, trouble)}


def fields(text: str, **more: Any) -> dict[str, Any]:
    found = change_of(DESIRED, file(text, **more))
    assert found is None or [s.op.__name__ for s in steps_of(found)] == ["put_key"]  # type: ignore[union-attr]
    if found is None:
        return {}
    return {"action": found.action} if found.action != "update" else {d.path: (d.before, d.after) for d in found.diff}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LINE, {}),
        (f"# {OTHER} root@install-01\n\n{FOREIGN} someone else\n{LINE}\n", {}),
        (f'no-pty,from="10.0.0.0/16" {OURS} root@install-01', {}),
        (LINE.replace(OURS, OTHER), {"public_key": (OTHER, OURS)}),
        (LINE.replace("10.0", "10.1"), {"options[0]": ('from="10.1.0.0/16"', 'from="10.0.0.0/16"')}),
        (LINE.replace("root@install-01", "x y"), {"comment": ("x y", "root@install-01")}),
        (LINE.replace(" root@install-01", ""), {"comment": ("", "root@install-01")}),
        (f"{LINE}\n{OURS} again", {"doubles[0]": (f"{OURS} again", None)}),
        (f"{LINE}\n{OTHER} root@install-01", {"doubles[0]": (f"{OTHER} root@install-01", None)}),
        ("", {"action": "create"}),
        (f"{FOREIGN} someone", {"action": "create"}),
    ],
)
def test_update(text: str, expected: dict[str, Any]) -> None:
    assert fields(text) == expected


def test_strict_modes() -> None:
    assert fields(LINE, strict=False) == {"strict": (False, True)}


def test_unknown_and_absent() -> None:
    observed = DESIRED.observe(KeyFile((), True, "its .ssh is no directory"))
    assert isinstance(observed, Unknown)
    assert observed.reason == "kb: its .ssh is no directory"
    assert DESIRED.observe(None) is None  # the user comes with this very plan, or the step says that there is none


def test_delete_is_by_name_alone() -> None:
    gone = AuthorizedKey(user="kb", name="root@install-01", absent=True)
    found = change_of(gone, file(f"{FOREIGN} x\n{LINE}"))
    assert found is not None
    [step] = steps_of(found)
    assert (step.args["name"], step.args["line"]) == ("root@install-01", None)
    assert change_of(gone, file(f"{OURS} another name")) is None
    assert gone.before_delete() is None
    assert AuthorizedKey(user="root", name="x").before_delete()


def test_the_line_is_written_with_options_and_name() -> None:
    found = change_of(DESIRED, file(""))
    assert found is not None
    [step] = steps_of(found)
    assert step.args["line"] == LINE
    assert "setpriv --reuid" in scripts(step)


def test_address_needs_and_problems() -> None:
    assert DESIRED.address == "authorized_key:kb/root@install-01"
    assert "user:kb" in set(DESIRED.needs())
    assert list(AuthorizedKey(user="kb", name="x").problems()) == ["public_key is missing"]
    assert not list(AuthorizedKey(user="kb", name="x", absent=True).problems())
    assert list(AuthorizedKey(user="kb", name="x", public_key=OURS, strict=False).problems())


@pytest.mark.parametrize(
    "key",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 not base64",
        OURS.replace("ssh-ed25519 ", "ssh-rsa "),
        f"no-pty {OURS}",
        f"{OURS} a\n{OTHER} b",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        OURS.split()[1],
    ],
)
def test_hostile_keys(key: str) -> None:
    with pytest.raises(ValidationError):
        AuthorizedKey(user="kb", name="x", public_key=key)


def test_a_key_from_a_file_may_end_in_a_line_break() -> None:
    assert AuthorizedKey(user="kb", name="x", public_key=f"{OURS} root@x\n").public_key == OURS


@pytest.mark.parametrize(
    "option", ["", "a b", 'command="x', 'command="a"b"', 'command="a\\"', "x\n", "from=10.0.0.1", ",", "a,b"]
)
def test_hostile_options(option: str) -> None:
    with pytest.raises(ValidationError):
        AuthorizedKey(user="kb", name="x", public_key=OURS, options=(option,))


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-x", "a\n", "a*", "#x"])
def test_hostile_names(name: str) -> None:
    with pytest.raises(ValidationError):
        AuthorizedKey(user="kb", name=name)
    with pytest.raises(ValidationError):
        AuthorizedKey(user=name, name="x")


# --- the file ---------------------------------------------------------------------------------------------------

COMMAND = 'command="echo \\"a, b\\" # c",no-pty'


def test_parse() -> None:
    text = f"# c\n  {COMMAND}\t{OURS}   a comment \r\n{OTHER}\nnonsense\n"
    assert list(parse(text)) == [
        KeyLine(('command="echo \\"a, b\\" # c"', "no-pty"), OURS, "a comment"),
        KeyLine((), OTHER, ""),
    ]


def test_process() -> None:
    line = base64.b64encode(f"{LINE}\n".encode()).decode()
    output = f"kb|1500|d 755 1500|d 700 1500|f 600 1500||{line}\nroot|0|d 700 0|d 700 0||\nloose|9|d 755 9|d 777 9||\n"
    output += "link|8|d 755 8|l 777 8||\nopen|7|d 777 7||\nforeign|6|d 755 6|d 700 1|f 600 6||\nhomeless|5||\n"
    names = ["kb", "root", "loose", "link", "open", "foreign", "homeless", "gone"]
    found = KeyFiles().process(names, output)
    assert found["kb"] == KeyFile(tuple(parse(LINE)), True, "")
    assert found["root"] == found["homeless"] == KeyFile((), True, "")
    assert found["loose"] == found["foreign"] == KeyFile((), False, "")
    assert [found[name].trouble for name in ("link", "open")] == [  # type: ignore[union-attr]
        "its .ssh is no directory",
        "its home can be written by others, so sshd takes no key from there",
    ]
    assert found["gone"] is None


def edited(text: str, line: str, name: str = "root@install-01") -> str:
    environment = {**os.environ, "LC_ALL": "C", "line": line, "name": name}
    run = subprocess.run(["awk", EDIT], input=text.encode(), env=environment, capture_output=True, check=True)
    return run.stdout.decode()


def test_edit() -> None:
    text = (
        f'# keep\nno-pty {FOREIGN} root@install-01 of old\n{COMMAND} {OTHER} root@install-01 \n\nnonsense "\n'
        f"{OURS} another\n   {FOREIGN} é…"
    )
    after = edited(text, LINE)
    assert after == (f'# keep\nno-pty {FOREIGN} root@install-01 of old\n{LINE}\n\nnonsense "\n   {FOREIGN} é…\n')
    assert edited(after, LINE) == after
    assert edited(after, "") == after.replace(f"{LINE}\n", "")
    assert edited("", LINE) == f"{LINE}\n"
    assert edited("", "") == ""


def test_edit_keeps_backslashes() -> None:
    line = f'command="echo \\"\\\\n\\" \\t" {OURS} x'
    assert edited("", line, "x") == f"{line}\n"
    assert edited(f"{line}\n", "", "x") == ""


@given(
    st.lists(
        st.sampled_from(
            ["#c", "", "x", LINE, f"{OURS}", f"{OTHER} root@install-01", f"{COMMAND} {FOREIGN} f", f"{COMMAND} {OURS}"]
        )
    )
)
def test_an_edited_file_is_as_declared_and_keeps_the_others(lines: list[str]) -> None:
    after = edited("\n".join(lines), LINE)
    assert fields(after) == {}
    kept = [line for line in lines if line in ("#c", "x", f"{COMMAND} {FOREIGN} f")]
    assert [line for line in after.split("\n") if line not in ("", LINE)] == kept


@given(st.text(alphabet='abc"\\, \t#=\n', max_size=60))
def test_any_file_is_read_and_kept(text: str) -> None:
    assert list(parse(text)) == []
    assert edited(text, "") == (text if text.endswith("\n") or not text else f"{text}\n")


def lab(name: str, field: str, drift: str) -> LabCase:
    user = User(name=f"kb-{name}", shell="/bin/bash")
    key = AuthorizedKey(user=user.name, name="root@install-01", public_key=OURS, options=('from="10.0.0.0/16"',))
    return LabCase((user, key), key.address, field, drift.replace("FILE", f"/home/{user.name}/.ssh/authorized_keys"))


LAB_CASES: list[LabCase] = [
    lab("ak-key", "public_key", f"sed -i 's|{OURS}|{OTHER}|' FILE"),
    lab("ak-options", "options", "sed -i s/10.0.0.0/10.9.0.0/ FILE"),
    lab("ak-comment", "comment", "sed -i s/root@/toor@/ FILE"),
    lab("ak-double", "doubles", f"echo '{OURS} again' >> FILE"),
    lab("ak-loose", "strict", "chmod 0777 $(dirname FILE)"),
    lab("ak-nobody", "strict", "chown nobody $(dirname FILE) FILE"),
    lab("ak-line", "", f"echo '{FOREIGN} other' > FILE"),
    lab("ak-gone", "", "rm -r $(dirname FILE)"),
]
