"""Redis with a Sentinel beside it; redis-01 is the first master."""

from __future__ import annotations

from kbstate.lab.credentials import REDIS_MASTER_NAME, REDIS_PASSWORD
from kbstate.lab.inventory import of_role
from kbstate.lab.layers import Layer
from kbstate.lab.packages import REDIS
from kbstate.lab.roles import Role
from kbstate.lab.seed import Seed

_REDIS = """bind 0.0.0.0
protected-mode no
port 6379
supervised systemd
daemonize no
dir /var/lib/redis
logfile ""
save ""
appendonly yes
appendfsync no
repl-diskless-sync yes
repl-diskless-sync-delay 0
requirepass {password}
masterauth {password}
{replica}"""
_SENTINEL = """bind 0.0.0.0
protected-mode no
port 26379
supervised systemd
daemonize no
dir /var/lib/redis
logfile ""
sentinel monitor {name} {master} 6379 2
sentinel auth-pass {name} {password}
sentinel down-after-milliseconds {name} 2000
sentinel failover-timeout {name} 10000
sentinel parallel-syncs {name} 2
"""
_SERVING = f"""
export REDISCLI_AUTH={REDIS_PASSWORD}
redis-cli role | grep -qx -e master -e connected || exit 1
unset REDISCLI_AUTH
redis-cli -p 26379 sentinel ckquorum {REDIS_MASTER_NAME} | grep -q '^OK 3'
"""


def _furnish(seed: Seed) -> None:
    master = of_role("redis")[0]
    uid, gid = seed.login_of("redis")
    replica = "" if seed.host == master else f"replicaof {master.private} 6379\n"
    # both write their own configuration anew when the master changes
    config = _REDIS.format(password=REDIS_PASSWORD, replica=replica)
    seed.file("/etc/redis/redis.conf", config, 0o640, uid, gid)
    sentinel = _SENTINEL.format(name=REDIS_MASTER_NAME, master=master.private, password=REDIS_PASSWORD)
    seed.file("/etc/redis/sentinel.conf", sentinel, 0o640, uid, gid)


def role() -> Role:
    """A Redis host."""
    return Role(layer=Layer("redis", REDIS), furnish=_furnish, serving=_SERVING, cluster=True)
