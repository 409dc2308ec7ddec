"""HAProxy: one container on the host's own network, with its configuration mounted as a directory."""

from __future__ import annotations

from collections.abc import Iterator

from keybuzz_tree import ROOT, mounted, owned, plain
from surroundings import Surroundings
from versions import HAPROXY

from kbstate import Container, Directory, File, Resource, Secret, Site, template
from kbstate.containers.types import Mount

HOME = f"{ROOT}/haproxy"
CONFIGURATION = f"{HOME}/conf"
RUN = f"{HOME}/run"
"""Where HAProxy makes its sockets."""
STATE = f"{HOME}/state"
"""Where redis-update-master.sh leaves what is in maintenance, for the next start or reload."""

INSIDE = "/usr/local/etc/haproxy"
FILES = ("haproxy.cfg", "redis.cfg")
REDIS_FILE = f"{CONFIGURATION}/redis.cfg"

REDIS_BACKEND = "be_redis_master"
BACKENDS = ("be_pg_primary", "be_pgbouncer", REDIS_BACKEND, "be_rabbitmq")

MAXCONN = 8000
IDLE = "3h"
"""For how long a session may be silent before it is cut; a dead peer is found much sooner, by keep-alive packets."""


def haproxy(site: Site, around: Surroundings) -> Iterator[Resource]:
    yield HAPROXY.image
    yield from directories()
    files = (redis_configuration(site, around), configuration(around))
    yield from files
    yield container(tuple(file.address for file in files))


def directories() -> Iterator[Directory]:
    yield plain(HOME)
    yield mounted(CONFIGURATION, HAPROXY.gid)
    yield owned(RUN, HAPROXY.uid, HAPROXY.gid)
    yield mounted(STATE, HAPROXY.gid)


def configuration(around: Surroundings) -> File:
    content = template(
        "templates/haproxy.cfg.j2",
        maxconn=MAXCONN,
        idle=IDLE,
        databases=around.databases,
        queues=around.queues,
        peer=around.peer,
    )
    return _file("haproxy.cfg", content, after=("file:" + REDIS_FILE,))


def redis_configuration(site: Site, around: Surroundings) -> File:
    """The backend of Redis, by itself: what holds a password is masked in a plan, and the rest is to be seen there."""
    password = site.credentials["redis.env", "REDIS_PASSWORD"]
    content = template("templates/redis.cfg.j2", auth=auth_request(password), servers=around.redis)
    return _file("redis.cfg", content)


def _file(name: str, content: str | Secret, after: tuple[str, ...] = ()) -> File:
    """Put in place only if HAProxy, as it will run, accepts it beside the other file."""
    return File(
        path=f"{CONFIGURATION}/{name}",
        content=content,
        owner="root",
        group=str(HAPROXY.gid),
        mode="0640",
        validate_with=trial(name),
        requires=(HAPROXY.image.address, *after),
    )


def trial(name: str) -> str:
    """Has the candidate `{path}` checked together with the other file, by the very HAProxy that will load it.

    The container sees nothing else and leaves nothing behind. Without the other file there is nothing to check yet.
    """
    other = next(file for file in FILES if file != name)
    candidate = f"--mount type=bind,source={{path}},target=/trial/{name},readonly"
    beside = f"--mount type=bind,source={CONFIGURATION}/{other},target=/trial/{other},readonly"
    check = f"haproxy -c {' '.join(f'-f /trial/{file}' for file in FILES)}"
    run = f"docker run --rm --pull never --network none {candidate} {beside} {HAPROXY.name} {check}"
    return f"{{ [ ! -e {CONFIGURATION}/{other} ] || {run}; }}"


def auth_request(password: Secret) -> Secret:
    """AUTH as it goes over the wire, in hexadecimal digits. Source: Redis serialization protocol, "Arrays"."""
    words = (b"AUTH", password.reveal())
    frame = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return Secret(frame.hex(), password.label)


def container(files: tuple[str, ...]) -> Container:
    """It takes up new files by a hitless reload: the master starts new workers, the old ones end their sessions."""
    configuration = tuple(word for file in FILES for word in ("-f", f"{INSIDE}/{file}"))
    return Container(
        name="haproxy",
        image=HAPROXY.name,
        command=("haproxy", "-S", "/run/haproxy/master.sock,mode,600", *configuration),
        user=HAPROXY.user,
        network="host",
        restart="always",
        env={},
        labels={},
        privileged=False,
        capabilities_drop=("ALL",),
        mounts=(
            Mount(source=CONFIGURATION, target=INSIDE, read_only=True),
            Mount(source=RUN, target="/run/haproxy"),
            Mount(source=STATE, target="/var/lib/haproxy-state", read_only=True),
        ),
        reload_on=files,
        check_with=("haproxy", "-c", "-q", *configuration),
        reload_signal="SIGUSR2",
        # asked to stop, it listens no more, but waits for its sessions, which may last for days
        stop_timeout=5,
        interrupts="drops connections",
    )
