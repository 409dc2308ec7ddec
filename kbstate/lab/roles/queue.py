"""RabbitMQ, one broker by itself on each host: nothing here needs a cluster."""

from __future__ import annotations

from kbstate.lab.credentials import QUEUE_PASSWORD, QUEUE_USER
from kbstate.lab.layers import Layer
from kbstate.lab.packages import QUEUE
from kbstate.lab.roles import Role
from kbstate.lab.seed import Seed

_CONFIG = f"""listeners.tcp.default = 5672
default_user = {QUEUE_USER}
default_pass = {QUEUE_PASSWORD}
loopback_users = none
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 256MB
log.console = true
log.console.level = warning
log.file = false
"""
# one scheduler that does not spin while it waits: three brokers share the machine with everything else
_ENVIRONMENT = 'SERVER_ADDITIONAL_ERL_ARGS="+S 1:1 +SDcpu 1:1 +SDio 1 +A 4 +sbwt none +sbwtdcpu none +sbwtdio none"\n'
_SERVING = r"""
exec 3<>/dev/tcp/127.0.0.1/5672 || exit 1
printf 'AMQP\0\0\011\001' >&3
[ "$(timeout 5 head -c 1 <&3 | od -An -tx1)" = ' 01' ]
"""


def _furnish(seed: Seed) -> None:
    seed.file("/etc/rabbitmq/rabbitmq.conf", _CONFIG)
    seed.file("/etc/rabbitmq/rabbitmq-env.conf", _ENVIRONMENT)
    seed.file("/etc/rabbitmq/enabled_plugins", "[].\n")


def role() -> Role:
    """A broker."""
    after = "rm -rf /var/lib/rabbitmq/mnesia /var/lib/rabbitmq/.erlang.cookie\n"
    return Role(layer=Layer("queue", QUEUE, after=after), furnish=_furnish, serving=_SERVING)
