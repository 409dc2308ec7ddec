"""PgBouncer: one container on the host's own network, behind HAProxy's 6432 and before HAProxy's 5432."""

from __future__ import annotations

import re
from collections.abc import Iterator

from keybuzz_tree import ROOT, mounted, owned, plain
from versions import PGBOUNCER

from kbstate import Container, CredentialError, File, Resource, Secret, Site, template
from kbstate.containers.types import Mount

HOME = f"{ROOT}/pgbouncer"
CONFIGURATION = f"{HOME}/conf"
RUN = f"{HOME}/run"
"""Where PgBouncer makes its socket."""

VERIFIER = re.compile(rb"SCRAM-SHA-256\$\d+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]{44}:[A-Za-z0-9+/=]{44}")
"""As in pg_authid: iterations, salt, StoredKey and ServerKey. Source: PostgreSQL, "pg_authid"."""

POOLS = {
    "max_client_conn": 2000,
    "default_pool_size": 25,
    "reserve_pool_size": 5,
    "max_db_connections": 40,  # twice that, from both hosts, stays below PostgreSQL's usual limit of 100
}


def pgbouncer(site: Site) -> Iterator[Resource]:
    yield PGBOUNCER.image
    yield plain(HOME)
    yield mounted(CONFIGURATION, PGBOUNCER.gid)
    yield owned(RUN, PGBOUNCER.uid, PGBOUNCER.gid)
    settings = _file("pgbouncer.ini", template("templates/pgbouncer.ini.j2", **POOLS))
    users = _file("userlist.txt", template("templates/userlist.txt.j2", users=(account(site),)))
    yield from (settings, users)
    yield Container(
        name="pgbouncer",
        image=PGBOUNCER.name,
        user=PGBOUNCER.user,
        network="host",
        restart="always",
        env={},
        labels={},
        privileged=False,
        capabilities_drop=("ALL",),
        mounts=(
            Mount(source=CONFIGURATION, target="/etc/pgbouncer", read_only=True),
            Mount(source=RUN, target="/run/pgbouncer"),
        ),
        reload_on=(settings.address, users.address),
        reload_signal="SIGHUP",
        interrupts="drops connections",
    )


def account(site: Site) -> tuple[str, Secret]:
    """Whom PgBouncer lets in, and the verifier with which it checks them and logs on to PostgreSQL as them."""
    user = site.credentials.text("postgres.env", "POSTGRES_USER")
    verifier = site.credentials["postgres.env", "POSTGRES_VERIFIER"]
    if not VERIFIER.fullmatch(verifier.reveal()):
        raise CredentialError(
            f"{verifier.label} is no SCRAM verifier: copy it from PostgreSQL "
            f"(SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'), and put it between single quotes"
        )
    return user, verifier


def _file(name: str, content: str | Secret) -> File:
    group = str(PGBOUNCER.gid)
    return File(path=f"{CONFIGURATION}/{name}", content=content, owner="root", group=group, mode="0640")
