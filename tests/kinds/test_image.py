"""Images: names as Docker shows them, digests, and the numbers of the user that they run as."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.dockerd import DOWN, Images, ImageState, repository, short_name
from kbstate.kinds.image import Image, ImageUsers, UserIds
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, scripts, steps_of

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
LIVE = ImageState(ONE, frozenset({"haproxy:2.8.5", f"haproxy@{TWO}"}), "haproxy", {"User": "haproxy"})
IDS = UserIds(99, 99)

CASES: list[tuple[Image, UserIds | None, dict[str, Any]]] = [
    (Image(name="haproxy:2.8.5"), None, {}),
    (Image(name="haproxy:2.8.5", digest=TWO), None, {}),
    (Image(name="haproxy:2.8.5", digest=ONE), None, {"digest": (TWO, ONE)}),
    (Image(name="haproxy:2.8.5", uid=99, gid=99), IDS, {}),
    (Image(name="haproxy:2.8.5", uid=100), IDS, {"uid": (99, 100)}),
    (Image(name="haproxy:2.8.5", gid=100), IDS, {"gid": (99, 100)}),
]


@pytest.mark.parametrize(("desired", "user", "fields"), CASES)
def test_each_field(desired: Image, user: UserIds | None, fields: dict[str, Any]) -> None:
    change = change_of(desired, {"image": LIVE, **({"user": user} if user else {})})
    assert ({} if change is None else {d.path: (d.before, d.after) for d in change.diff}) == fields


def test_a_digest_is_one_of_those_that_it_has() -> None:
    both = ImageState(ONE, frozenset({"haproxy:2.8.5", f"haproxy@{ONE}", f"haproxy@{TWO}", f"other@{TWO}"}), "", {})
    for digest in (ONE, TWO):
        assert change_of(Image(name="haproxy:2.8.5", digest=digest), {"image": both}) is None
    by_hand = ImageState(ONE, frozenset({"haproxy:2.8.5"}), "", {})
    change = change_of(Image(name="haproxy:2.8.5", digest=ONE), {"image": by_hand})
    assert change is not None
    assert change.diff[0].before is None


def test_create_pulls() -> None:
    [plain] = steps_of(change_of(Image(name="haproxy:2.8.5"), {"image": None}) or pytest.fail())
    assert scripts(plain) == "docker pull --quiet -- haproxy:2.8.5"
    [exact] = steps_of(change_of(Image(name="haproxy:2.8.5", digest=ONE), {"image": None}) or pytest.fail())
    assert f"docker pull --quiet -- haproxy@{ONE}" in scripts(exact)
    assert f"docker tag -- haproxy@{ONE} haproxy:2.8.5" in scripts(exact)


def test_delete() -> None:
    gone = Image(name="haproxy:2.8.5", absent=True)
    [step] = steps_of(change_of(gone, {"image": LIVE}) or pytest.fail())
    assert scripts(step) == "docker image rm -- haproxy:2.8.5"
    assert change_of(gone, {"image": None}) is None


def test_numbers_that_cannot_be_looked_up() -> None:
    seen = Image(name="haproxy:2.8.5", uid=99).observe(LIVE, UserIds(None, None))
    assert isinstance(seen, Unknown)
    assert "leave uid and gid out" in seen.reason
    assert not isinstance(Image(name="haproxy:2.8.5").observe(LIVE, UserIds(None, None)), Unknown)


NAMES = [
    ("haproxy:2.8.5", "haproxy:2.8.5", "haproxy"),
    ("docker.io/library/haproxy:2.8.5", "haproxy:2.8.5", "haproxy"),
    ("index.docker.io/edoburu/pgbouncer:1.18.0", "edoburu/pgbouncer:1.18.0", "edoburu/pgbouncer"),
    ("registry.example:5000/a/b:1", "registry.example:5000/a/b:1", "registry.example:5000/a/b"),
    (f"haproxy@{ONE}", f"haproxy@{ONE}", "haproxy"),
]


@pytest.mark.parametrize(("given_name", "name", "repo"), NAMES)
def test_names(given_name: str, name: str, repo: str) -> None:
    assert Image(name=given_name).name == name == short_name(given_name)
    assert repository(name) == repo


@pytest.mark.parametrize("name", ["", "a b:1", "-x:1", "a;b:1", "$(id):1", "A:1", "a:1:2", "a@sha256:1", "../x:1"])
def test_hostile_names(name: str) -> None:
    with pytest.raises(ValidationError):
        Image(name=name)


@pytest.mark.parametrize("name", ["haproxy", "haproxy:latest", "registry.example:5000/haproxy"])
def test_names_that_mean_another_image_tomorrow(name: str) -> None:
    [problem] = Image(name=name).problems()
    assert "not pinned" in problem
    assert not list(Image(name=name, absent=True).problems())


def test_other_problems() -> None:
    [problem] = Image(name=f"haproxy@{ONE}", digest=TWO).problems()
    assert "in its name already" in problem


def said(id: str, *tags: str, user: str = "") -> str:
    return "I " + json.dumps({"Id": id, "RepoTags": list(tags) or None, "RepoDigests": None, "Config": {"User": user}})


def table(*rows: str) -> str:
    return base64.b64encode("".join(f"{row}\n" for row in rows).encode()).decode()


PASSWD = table("root:x:0:0::/:/bin/sh", "haproxy:x:99:98::/:/bin/false", "broken")
GROUP = table("root:x:0:", "haproxy:x:98:", "wheel:x:10:")


def test_process() -> None:
    output = f"{said(ONE, 'haproxy:2.8.5', user='haproxy')}\n{said(TWO)}\n"
    found = Images().process(["haproxy:2.8.5", "gone:1"], output)
    assert found == {
        "haproxy:2.8.5": ImageState(ONE, frozenset({"haproxy:2.8.5"}), "haproxy", {"User": "haproxy"}),
        "gone:1": None,
    }
    assert Images().failed(69, "docker daemon not running") == DOWN
    assert Images().failed(1, "a\npermission denied\n").reason == "permission denied"


USERS = [
    ("", PASSWD, GROUP, UserIds(0, 0)),
    ("haproxy", PASSWD, GROUP, UserIds(99, 98)),
    ("99", PASSWD, GROUP, UserIds(99, 98)),
    ("5", PASSWD, GROUP, UserIds(5, 0)),
    ("haproxy:wheel", PASSWD, GROUP, UserIds(99, 10)),
    ("haproxy:7", PASSWD, GROUP, UserIds(99, 7)),
    ("nobody", PASSWD, GROUP, UserIds(None, 0)),
    ("haproxy", "-", "-", UserIds(None, None)),
    ("", "-", "-", UserIds(0, 0)),
]


@pytest.mark.parametrize(("user", "passwd", "group", "ids"), USERS)
def test_users(user: str, passwd: str, group: str, ids: UserIds) -> None:
    output = f"{said(ONE, 'haproxy:2.8.5', user=user)}\nU {ONE} {passwd} {group}\n"
    assert ImageUsers().process(["haproxy:2.8.5", "gone:1"], output) == {"haproxy:2.8.5": ids, "gone:1": None}


@given(st.text(alphabet='IU {}":\n', max_size=60))
def test_nonsense_is_an_error_or_nothing(output: str) -> None:
    try:
        assert ImageUsers().process(["a:1"], output) == {"a:1": None}
    except (ValueError, KeyError, TypeError):
        pass


HAPROXY = "haproxy:2.8.5"


def lab(field: str, user: str, **fields: Any) -> LabCase:
    """By hand the tag is made to stand for an image that runs as another user."""
    anew = f"docker rmi --force {HAPROXY}; tar -C /etc -c hostname | docker import -c 'USER {user}' - {HAPROXY}"
    return LabCase((Image(name=HAPROXY, **fields),), f"image:{HAPROXY}", field, anew, docker=True, alone=True)


# the digest, which is another one in each lab, is tested in tests/lab/test_docker.py
LAB_CASES: list[LabCase] = [
    lab("uid", "5:99", uid=99, gid=99),
    lab("gid", "99:5", uid=99, gid=99),
    LabCase((Image(name=HAPROXY),), f"image:{HAPROXY}", "", f"docker rmi {HAPROXY}", docker=True, alone=True),
]
