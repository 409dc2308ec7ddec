"""The inventory: rows that count, and everything that a file can have wrong with it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbstate.errors import DesiredError
from kbstate.inventory import COLUMNS, LARGEST, Inventory, Server, parse

HEADER = "\t".join(COLUMNS)


def row(**changed: str) -> str:
    """A sound row with some columns changed."""
    values = dict.fromkeys(COLUMNS, "-") | {
        "ENV": "prod",
        "IP_PUBLIQUE": "203.0.113.11",
        "HOSTNAME": "haproxy-01",
        "IP_PRIVEE": "10.0.0.11",
        "FQDN": "haproxy-01.example.org",
        "USER_SSH": "root",
        "ROLE": "lb",
        "SUBROLE": "internal-haproxy",
        "NOTES": "répartiteur, nœud n° 1 … « ça va »",
    }
    return "\t".join((values | changed).values())


OTHER = {"HOSTNAME": "haproxy-02", "IP_PRIVEE": "10.0.0.12"}


def table(*rows: str, end: str = "\n") -> bytes:
    return end.join([HEADER, *rows, ""]).encode()


def refused(data: bytes) -> list[str]:
    with pytest.raises(DesiredError) as caught:
        parse(data, "servers.tsv")
    return [str(error) for error in caught.value.errors]


def test_rows() -> None:
    [server] = parse(table(row()), "servers.tsv")
    assert server.model_dump(exclude_none=True) == {
        "env": "prod",
        "public_ip": "203.0.113.11",
        "hostname": "haproxy-01",
        "private_ip": "10.0.0.11",
        "fqdn": "haproxy-01.example.org",
        "ssh_user": "root",
        "role": "lb",
        "subrole": "internal-haproxy",
        "notes": "répartiteur, nœud n° 1 … « ça va »",
    }
    assert server.address == "10.0.0.11"


@pytest.mark.parametrize(
    "data",
    [
        table(row(), end="\r\n"),
        b"\xef\xbb\xbf" + table(row()),
        table(row()).rstrip(b"\n"),
        table("", row(), "", ""),
        table(row(POOL="", NOTES=" répartiteur, nœud n° 1 … « ça va » ")),
    ],
    ids=["CRLF", "BOM", "no last line break", "empty lines", "empty column and spaces"],
)
def test_what_editors_do(data: bytes) -> None:
    [server], [expected] = parse(data, "servers.tsv"), parse(table(row()), "servers.tsv")
    assert server.model_dump() == expected.model_dump()


def test_only_production_counts_and_all_is_checked() -> None:
    assert [s.hostname for s in parse(table(row(ENV="dev"), row(**OTHER)), "f")] == ["haproxy-02"]
    assert refused(table(row(ENV="dev", HOSTNAME="a;b"), row(**OTHER))) == [
        "servers.tsv:2: HOSTNAME: must be letters, digits and hyphens, not beginning with a hyphen"
    ]


COLUMN_FAULTS = [
    ("HOSTNAME", "-oProxyCommand=touch /x", "letters, digits and hyphens, not beginning with a hyphen"),
    ("HOSTNAME", "$(id)", "letters, digits and hyphens, not beginning with a hyphen"),
    ("HOSTNAME", "a b", "letters, digits and hyphens, not beginning with a hyphen"),
    ("HOSTNAME", "a;reboot", "letters, digits and hyphens, not beginning with a hyphen"),
    ("HOSTNAME", "../../etc", "letters, digits and hyphens, not beginning with a hyphen"),
    ("HOSTNAME", "x" * 64, "letters, digits and hyphens, not beginning with a hyphen"),
    ("USER_SSH", "-oProxyCommand=touch /x", "the name of a login user, or - for none"),
    ("USER_SSH", "root@evil", "the name of a login user, or - for none"),
    ("USER_SSH", "`id`", "the name of a login user, or - for none"),
    ("IP_PRIVEE", "10.0.0.1x", "an IP address, or - for none"),
    ("IP_PRIVEE", "10.0.0.256", "an IP address, or - for none"),
    ("IP_PRIVEE", "10.0.0.0/16", "an IP address, or - for none"),
    ("IP_PRIVEE", "fe80::1%;id", "an IP address, or - for none"),
    ("IP_PUBLIQUE", "example.org", "an IP address, or - for none"),
    ("FQDN", "a..b", "a DNS name, or - for none"),
    ("FQDN", "-a.b", "a DNS name, or - for none"),
    ("ENV", "Prod", "a name in small letters such as prod"),
    ("ROLE", "lb|sh", "letters, digits and _ . , : / + -"),
    ("POOL", "'", "letters, digits and _ . , : / + -"),
]


@pytest.mark.parametrize(("column", "value", "expected"), COLUMN_FAULTS)
def test_columns(column: str, value: str, expected: str) -> None:
    assert refused(table(row(**{column: value}))) == [f"servers.tsv:2: {column}: must be {expected}"]


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x0b", "\u2028", "\u202e", "\u0085"])
@pytest.mark.parametrize("column", ["NOTES", "HOSTNAME"])
def test_control_characters(column: str, character: str) -> None:
    found = refused(table(row(**{column: f"a{character}b"})))
    assert found == [f"servers.tsv:2: {column}: must not contain control characters"]


def test_every_fault_is_named() -> None:
    bad = row(HOSTNAME="", IP_PRIVEE="x", ENV="-")
    assert refused(table(bad, row() + "\tmore", "prod", row(NOTES="ok", **OTHER))) == [
        "servers.tsv:2: ENV: is empty",
        "servers.tsv:2: HOSTNAME: is empty",
        "servers.tsv:2: IP_PRIVEE: must be an IP address, or - for none",
        "servers.tsv:3: the row has 13 columns where 12 are expected: check its tabs",
        "servers.tsv:4: the row has 1 column where 12 are expected: check its tabs",
    ]


def test_twice() -> None:
    assert refused(table(row(), row(IP_PRIVEE="10.0.0.12", HOSTNAME="HAPROXY-01"))) == [
        "servers.tsv:3: HOSTNAME: haproxy-01 is in line 2 already, in the same ENV"
    ]
    assert refused(table(row(), row(HOSTNAME="haproxy-02"))) == [
        "servers.tsv:3: IP_PRIVEE: 10.0.0.11 is in line 2 already, in the same ENV"
    ]
    assert len(parse(table(row(), row(ENV="dev"), row(ENV="dev", HOSTNAME="b", IP_PRIVEE="-")), "f")) == 1


def test_whole_files() -> None:
    head = "servers.tsv:1: the first line must be the header, tab separated: ENV IP_PUBLIQUE HOSTNAME"
    assert refused(b"")[0].startswith(head)
    assert refused(HEADER.replace("\t", " ").encode())[0].startswith(head)
    assert refused(table(row()).replace(b"NOTES", b"NOTE"))[0].startswith(head)
    latin = table(row(NOTES="é"), row(**OTHER)).decode().encode("latin-1", "replace")
    assert refused(latin)[0] == "servers.tsv:2: the line is not UTF-8: save the file as UTF-8"
    assert "is larger than 4194304 bytes" in refused(b" " * (LARGEST + 1))[0]


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "servers.tsv"
    path.write_bytes(table(row(), row(**OTHER), row(HOSTNAME="db", IP_PRIVEE="-", ROLE="db", SUBROLE="-")))
    inventory = Inventory.parse(path)
    assert len(inventory) == len(list(inventory)) == 3
    assert [s.hostname for s in inventory.where(role="lb", subrole="internal-haproxy")] == ["haproxy-01", "haproxy-02"]
    assert [s.hostname for s in inventory.where(subrole=None)] == ["db"]
    assert inventory.named("haproxy-02").address == "10.0.0.12"
    with pytest.raises(DesiredError, match=r"has no server 'haproxy-03' of ENV prod: did you mean haproxy-0"):
        inventory.named("haproxy-03")
    with pytest.raises(DesiredError, match=r"has no column for 'rol': did you mean role or subrole\?"):
        inventory.where(rol="lb")
    with pytest.raises(DesiredError, match=r"servers.tsv:4: db has no IP_PRIVEE: fill it in"):
        inventory.named("db").address  # noqa: B018
    with pytest.raises(DesiredError, match=r"the inventory \S+ cannot be read: Is a directory"):
        Inventory.parse(tmp_path)


CELL = st.one_of(st.text(max_size=6), st.sampled_from(["-", "", "prod", "10.0.0.1", "a", "-o", "::1", "é"]))
ROWS = st.lists(st.lists(CELL, min_size=10, max_size=13).map("\t".join), max_size=4)


@given(st.one_of(st.binary(max_size=200), ROWS.map(lambda rows: table(*rows))))
def test_anything_is_servers_or_an_error(data: bytes) -> None:
    try:
        servers = parse(data, "servers.tsv")
    except DesiredError as error:
        for one in error.errors:
            assert str(one).startswith("servers.tsv:")
            assert "\n" not in str(one)
    else:
        assert all(isinstance(server, Server) and not server.hostname.startswith("-") for server in servers)
