"""The follower: a script and its timer, which keep HAProxy pointed at the Redis master that the Sentinels agree on.

It changes what HAProxy has in maintenance, and no file that is declared: a failover is not drift.
"""

from __future__ import annotations

from collections.abc import Iterator

from haproxy_service import REDIS_BACKEND, RUN, STATE
from keybuzz_tree import SCRIPTS, SECRETS
from surroundings import Surroundings

from kbstate import File, Resource, Secret, Service, Site, Unit, from_file, template

NAME = "redis-update-master"
SCRIPT = f"{SCRIPTS}/{NAME}.sh"
AUTH_FILE = f"{SECRETS}/redis.auth"
SENTINEL_PORT = 26379


def redis_follower(site: Site, around: Surroundings) -> Iterator[Resource]:
    script = File(
        path=SCRIPT,
        content=from_file(f"templates/{NAME}.sh"),
        owner="root",
        group="root",
        mode="0755",
        validate_with="sh -n {path}",
    )
    auth = File(path=AUTH_FILE, content=auth_command(site), owner="root", group="root", mode="0600")
    service = unit(site, around)
    timer = _unit("timer", from_file(f"templates/{NAME}.timer"), after=(service.address,))
    yield from (script, auth, service, timer)
    yield Service(
        name=timer.name,
        running=True,
        enabled=True,
        restart_on=(timer.address,),
        requires=(script.address, auth.address, "container:haproxy"),
    )


def unit(site: Site, around: Surroundings) -> Unit:
    content = template(
        f"templates/{NAME}.service.j2",
        script=SCRIPT,
        sentinels=[f"{server.address}:{SENTINEL_PORT}" for server in around.redis],
        master_name=site.credentials.text("redis.env", "REDIS_MASTER_NAME"),
        auth_file=AUTH_FILE,
        admin_socket=f"{RUN}/admin.sock",
        backend=REDIS_BACKEND,
        state_file=f"{STATE}/servers",
        state_directory=STATE,
    )
    return _unit("service", content)


def _unit(suffix: str, content: object, after: tuple[str, ...] = ()) -> Unit:
    assert isinstance(content, str)  # neither a secret nor binary
    return Unit(name=f"{NAME}.{suffix}", content=content, owner="root", group="root", mode="0644", requires=after)


def auth_command(site: Site) -> Secret:
    """AUTH for the standard input of redis-cli, so that it is in no argument list. Source: sds.c, sdssplitargs."""
    password = site.credentials["redis.env", "REDIS_PASSWORD"]
    quoted = b"".join(b"\\x%02x" % byte for byte in password.reveal())
    return Secret(b'AUTH "' + quoted + b'"\n', password.label)
