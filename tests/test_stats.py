"""HAProxy's statistics: what they say, and that nothing else is taken for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbstate.stats import judge, parse

# `show stat` of HAProxy 2.8, without the columns after `type` that nobody reads here
HEADER = "# pxname,svname,qcur,status,weight,act,bck,pid,type,last_chk,\n"


def table(*rows: str) -> bytes:
    return (HEADER + "".join(f"{row}\n" for row in rows)).encode()


STATS = table(
    "fe_pg_5432,FRONTEND,,OPEN,,,,1,0,,",
    'be_pg,db-master-01,0,UP,1,1,0,1,2,"L7OK, ""fine""",',
    "be_pg,db-slave-01,0,DOWN,1,1,0,1,2,,",
    "be_pg,BACKEND,0,UP,1,1,0,1,1,,",
    "be_redis,redis-01,0,DOWN 1/2,1,1,0,1,2,,",
    "be_redis,redis-02,0,MAINT,1,1,0,1,2,,",
    "be_redis,BACKEND,0,DOWN,0,0,0,1,1,,",
    "be_free,one,0,no check,1,1,0,1,2,,",
    "be_free,BACKEND,0,UP,1,1,0,1,1,,",
    "stats,FRONTEND,,OPEN,,,,1,0,,",
    "stats,BACKEND,0,UP,0,0,0,1,1,,",
)
FOUND = {
    "be_pg": {"db-master-01": "UP", "db-slave-01": "DOWN"},
    "be_redis": {"redis-01": "DOWN 1/2", "redis-02": "MAINT"},
    "be_free": {"one": "no check"},
    "stats": {},
}


def test_parse() -> None:
    assert parse(STATS) == FOUND
    assert parse(HEADER.encode()) == {}


NONSENSE = [
    (b"", "it has no header"),
    (b"<html>", "it has no header"),
    (b"\xff", "can't decode"),
    (b"# pxname,svname,qcur\n", "its header lacks status or type"),
    (table("be,one,0"), "a row has 3 of 11 columns"),
    (STATS[:-20], "a row has 2 of 11 columns"),
    (table('be,"one'), "unexpected end of data"),
    (table("x" * 200_000), "field larger than field limit"),
]


@pytest.mark.parametrize(("body", "message"), NONSENSE)
def test_nonsense(body: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(body)


@given(
    st.one_of(
        st.binary(max_size=80), st.text('ab,"\n\r#UP12', max_size=60).map(lambda text: HEADER.encode() + text.encode())
    )
)
def test_anything_is_a_table_or_a_value_error(body: bytes) -> None:
    try:
        parse(body)
    except ValueError as error:
        assert str(error)


VERDICTS = [
    (["be_pg"], True, "be_pg 1 of 2 UP"),
    (["be_pg", "be_free"], True, "be_pg 1 of 2 UP, be_free 1 of 1 UP"),
    (["be_pg", "be_redis"], False, "be_redis: redis-01 DOWN 1/2, redis-02 MAINT"),
    (["be_nothing"], False, "be_nothing: there is no such backend"),
    (["stats"], False, "stats: it has no servers"),
    (None, False, "be_redis: redis-01 DOWN 1/2, redis-02 MAINT"),
    ([], False, "no backend has a server"),
]


@pytest.mark.parametrize(("wanted", "ok", "detail"), VERDICTS)
def test_judge(wanted: list[str] | None, ok: bool, detail: str) -> None:
    assert judge(FOUND, wanted) == (ok, detail)


@pytest.mark.parametrize(
    ("status", "up"),
    [
        ("UP", True),
        ("UP 1/3", True),
        ("no check", True),
        ("DOWN", False),
        ("NOLB", False),
        ("DRAIN", False),
        ("UPPER", False),
    ],
)
def test_what_counts_as_up(status: str, up: bool) -> None:
    assert judge({"b": {"s": status}}, None)[0] is up


def test_all_wants_something() -> None:
    assert judge({"stats": {}}, None) == (False, "no backend has a server")
