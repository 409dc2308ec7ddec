"""Users: every field, passwords that are only hashes and shown nowhere, and locks that stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from kbstate.kinds.group import GroupEntry
from kbstate.kinds.user import Passwd, PasswdEntry, Shadow, User
from kbstate.resource import Unknown
from kbstate.secret import MASK, Secret
from tests.kinds.case import LabCase, change_of, scripts, steps_of

HASH = "$y$j9T$IjiJ2Vt4uAV7Lcbbd/Oj41$R3Wlf8NpsGOBKTBBuYDxLZSLSGHPYwpSTS5YgYSjW51"
OTHER = "$y$j9T$Zbc5MUcU5ZK0hpGdsHIRb1$xZhyEzzXw0cq4CQ5eJ6uPhRsLvKjR7aO9LCAdKzvZB9"
ENTRY = PasswdEntry("kb", 1500, 1500, "Key Buzz", "/home/kb", "/bin/bash")
TABLE = (GroupEntry("kb", 1500, ()), GroupEntry("adm", 4, ("syslog", "kb")), GroupEntry("sudo", 27, ("kb",)))
DESIRED = User(
    name="kb", uid=1500, group="kb", groups=("sudo", "adm"), shell="/bin/bash", home="/home/kb", comment="Key Buzz"
)
SECRET = User(name="kb", password=Secret(HASH))


def facts(entry: PasswdEntry = ENTRY, table: tuple[GroupEntry, ...] = TABLE, **more: Any) -> dict[str, Any]:
    return {"passwd": (PasswdEntry("root", 0, 0, "root", "/root", "/bin/sh"), entry), "table": table, **more}


def done(desired: User, live: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    found = change_of(desired, live)
    if found is None:
        return {}, []
    return {d.path: (d.before, d.after) for d in found.diff}, [scripts(step) for step in steps_of(found)]


@pytest.mark.parametrize(
    ("live", "fields", "script"),
    [
        (replace(ENTRY, uid=1), {"uid": (1, 1500)}, "usermod --uid 1500 kb"),
        (replace(ENTRY, gid=4), {"group": ("adm", "kb")}, "usermod --gid kb kb"),
        (replace(ENTRY, gid=77), {"group": ("77", "kb")}, "usermod --gid kb kb"),
        (replace(ENTRY, shell="/bin/sh"), {"shell": ("/bin/sh", "/bin/bash")}, "usermod --shell /bin/bash kb"),
        (replace(ENTRY, home="/x"), {"home": ("/x", "/home/kb")}, "usermod --home /home/kb kb"),
        (replace(ENTRY, comment=""), {"comment": ("", "Key Buzz")}, "usermod --comment 'Key Buzz' kb"),
    ],
)
def test_update(live: PasswdEntry, fields: dict[str, Any], script: str) -> None:
    assert done(DESIRED, facts(live)) == (fields, [script])


def test_as_declared_and_what_is_not_ours() -> None:
    assert done(DESIRED, facts()) == ({}, [])
    assert done(User(name="kb"), facts(replace(ENTRY, shell="/bin/false"))) == ({}, [])
    assert done(User(name="kb", group="1500"), facts()) == ({}, [])


def test_groups_are_exactly_those() -> None:
    fields, steps = done(DESIRED, facts(table=TABLE[:2]))
    assert fields == {"groups[1]": (None, "sudo")}
    assert steps == ["usermod --groups sudo,adm kb"]
    fields, steps = done(User(name="kb", groups=()), facts())
    assert steps == ["usermod --groups '' kb"]


def test_create() -> None:
    _, [script] = done(DESIRED, facts(replace(ENTRY, name="other")))
    assert "useradd --create-home --uid 1500 --gid kb --groups sudo,adm --shell /bin/bash" in script
    _, [script] = done(User(name="kb", system=True), facts(replace(ENTRY, name="other")))
    assert 'useradd --system --no-create-home  "$@"' in script
    assert "--user-group" in script


def test_delete() -> None:
    gone = User(name="kb", absent=True)
    _, [script] = done(gone, facts())
    assert script == "userdel kb"
    assert "home stays" in str(gone.before_delete())
    assert list(User(name="root", absent=True).problems()) == ["root cannot be absent"]


# --- passwords --------------------------------------------------------------------------------------------------


def test_a_password_is_compared_and_shown_nowhere() -> None:
    assert done(SECRET, facts(shadow=Secret(HASH))) == ({}, [])
    assert done(SECRET, facts(shadow=Secret(f"!{HASH}"))) == ({}, [])  # the lock is not declared
    found = change_of(SECRET, facts(shadow=Secret(OTHER)))
    assert found is not None
    assert [(d.path, d.before, d.after) for d in found.diff] == [("password", None, None)]
    [step] = steps_of(found)
    assert HASH not in repr(step) + repr(found) + found.model_dump_json() + scripts(step)
    assert MASK in repr(step)
    assert "chpasswd --encrypted" in scripts(step)


@pytest.mark.parametrize(
    ("shadow", "locked"), [(HASH, False), (f"!{HASH}", True), ("!", True), ("*", True), ("!*", True), ("", False)]
)
def test_locked(shadow: str, locked: bool) -> None:
    assert done(User(name="kb", locked=locked), facts(shadow=Secret(shadow))) == ({}, [])
    fields, [script] = done(User(name="kb", locked=not locked), facts(shadow=Secret(shadow)))
    assert fields == {"locked": (locked, not locked)}
    assert script == f"usermod {'--unlock' if locked else '--lock'} kb"


def test_a_lock_stays_when_the_password_changes() -> None:
    both = User(name="kb", password=Secret(HASH), locked=True)
    fields, steps = done(both, facts(shadow=Secret(f"!{OTHER}")))
    assert set(fields) == {"password"}
    assert steps[1] == "usermod --lock kb"


def test_no_entry_in_shadow_is_not_no_password() -> None:
    observed = SECRET.observe(**facts(shadow=None))
    assert isinstance(observed, Unknown)
    assert "pwconv" in observed.reason
    assert SECRET.observe((), (), None) is None


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"password": Secret("hunter2")}, "must be a hash"),
        ({"password": Secret(f"!{HASH}")}, "must be a hash"),
        ({"password": Secret(f"{HASH}\n")}, "must be a hash"),
        ({"password": Secret("")}, "let anybody in"),
        ({"password": Secret("*"), "locked": False}, "cannot be unlocked"),
    ],
)
def test_problems(fields: dict[str, Any], problem: str) -> None:
    problems = list(User(name="kb", **fields).problems())
    assert any(problem in text for text in problems)
    assert "hunter2" not in repr(problems)


def test_no_problem() -> None:
    for password in (HASH, "*", "$6$salt$hash", "$2b$12$abc"):
        assert not list(User(name="kb", password=Secret(password)).problems())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Kb"),
        ("name", "-kb"),
        ("name", "0"),
        ("uid", -1),
        ("uid", 4294967295),
        ("shell", "sh"),
        ("shell", "/bin/a:b"),
        ("home", "/home/a\nb"),
        ("comment", "a:b"),
        ("comment", "a\nb"),
        ("groups", ("a b",)),
        ("password", "plain text is no secret"),
    ],
)
def test_hostile(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        User(**{"name": "kb", field: value})


def test_words_are_quoted() -> None:
    _, [script] = done(User(name="kb", comment="a'; touch /x; $(id)", shell="/bin/a b"), facts())
    assert script == """usermod --shell '/bin/a b' --comment 'a'"'"'; touch /x; $(id)' kb"""


def test_needs() -> None:
    assert {"group:kb", "group:sudo", "group:adm", "directory:/home", "package:*"} <= set(DESIRED.needs())


def test_process() -> None:
    assert Passwd().process([None], "kb:x:1500:1500:Key Buzz:/home/kb:/bin/bash\n") == {None: (ENTRY,)}
    found = Shadow().process(["kb", "gone"], f"kb:{HASH}:20000:0:99999:7:::\n")
    assert found == {"kb": Secret(HASH), "gone": None}
    with pytest.raises(ValueError, match="unpack"):
        Passwd().process([None], "kb:x:1500\n")


def lab(name: str, field: str, drift: str, **fields: Any) -> LabCase:
    user = User(name=f"kb-{name}", shell="/bin/bash", home=f"/home/kb-{name}", comment="Key Buzz", **fields)
    return LabCase((user,), user.address, field, drift.replace("USER", user.name))


LAB_CASES: list[LabCase] = [
    lab("uid", "uid", "usermod --uid 4000 USER", uid=5000),
    lab("group", "group", "usermod --gid nogroup USER", group="users"),
    lab("number", "group", "usermod --gid nogroup USER", group="100"),
    lab("groups", "groups", "usermod --groups '' USER", groups=("adm", "systemd-journal")),
    lab("more", "groups", "usermod --append --groups sudo USER", groups=("adm",)),
    lab("shell", "shell", "usermod --shell /bin/sh USER"),
    lab("home", "home", "usermod --home /nonexistent USER"),
    lab("comment", "comment", "usermod --comment '' USER"),
    lab("password", "password", f"echo 'USER:{OTHER}' | chpasswd --encrypted", password=Secret(HASH)),
    lab("unlocked", "locked", "usermod --unlock USER", password=Secret(HASH), locked=True),
    lab("locked", "locked", "usermod --lock USER", password=Secret(HASH), locked=False),
    lab("gone", "", "userdel USER", password=Secret(HASH), groups=("adm",)),
    lab("system", "", "userdel USER", system=True),
]
