"""PostgreSQL under Patroni, with an etcd on each of the three hosts. db-master-01 is the first primary."""

from __future__ import annotations

from kbstate.lab.credentials import (
    DATABASE,
    DATABASE_USER,
    DATABASE_VERIFIER,
    REPLICATION_PASSWORD,
    SUPERUSER_PASSWORD,
)
from kbstate.lab.inventory import of_role
from kbstate.lab.layers import Layer
from kbstate.lab.packages import DATABASE as PACKAGES
from kbstate.lab.roles import Role
from kbstate.lab.seed import Seed

_DATA = "/var/lib/postgresql/15/lab"
_ETCD = """ETCD_NAME={name}
ETCD_DATA_DIR=/var/lib/etcd/lab
ETCD_LISTEN_PEER_URLS=http://{address}:2380
ETCD_LISTEN_CLIENT_URLS=http://{address}:2379,http://127.0.0.1:2379
ETCD_INITIAL_ADVERTISE_PEER_URLS=http://{address}:2380
ETCD_ADVERTISE_CLIENT_URLS=http://{address}:2379
ETCD_INITIAL_CLUSTER={cluster}
ETCD_INITIAL_CLUSTER_STATE=new
ETCD_INITIAL_CLUSTER_TOKEN=lab
"""
_JOIN = """#!/bin/sh
# A host that was rebuilt has lost what its etcd knew: the others drop that member before it joins again.
[ ! -e /var/lib/etcd/lab/member ] || exit 0
export ETCDCTL_API=3
for other in {others}; do
    export ETCDCTL_ENDPOINTS="http://$other:2379"
    members=$(etcdctl --command-timeout=2s member list 2> /dev/null) || continue
    id=$(echo "$members" | sed -n 's/^\\([0-9a-f]*\\), started, {name},.*/\\1/p')
    [ -n "$id" ] || exit 0
    etcdctl member remove "$id" && etcdctl member add {name} --peer-urls=http://{address}:2380 || exit 1
    echo ETCD_INITIAL_CLUSTER_STATE=existing > /var/lib/etcd/joins
    exit 0
done
"""
_ETCD_DROP_IN = """[Service]
ExecStartPre=/etc/patroni/join
EnvironmentFile=-/var/lib/etcd/joins
"""
_PATRONI = """scope: keybuzz
name: {name}
restapi: {{listen: "0.0.0.0:8008", connect_address: "{address}:8008"}}
etcd3: {{hosts: [{etcd}]}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 5
    postgresql:
      use_pg_rewind: true
      parameters:
        shared_buffers: 16MB
        max_connections: 100
        max_wal_senders: 6
        max_replication_slots: 6
        fsync: "off"  # the kernel under a lab host does not crash with it
  initdb: [{{encoding: UTF8}}, {{locale: C.UTF-8}}, data-checksums, {{auth-local: peer}}, no-sync]
  post_bootstrap: /etc/patroni/first
postgresql:
  listen: "0.0.0.0:5432"
  connect_address: "{address}:5432"
  bin_dir: /usr/lib/postgresql/15/bin
  data_dir: {data}
  pgpass: /var/lib/postgresql/.pgpass-patroni
  basebackup: [{{checkpoint: fast}}, no-sync]
  authentication:
    superuser: {{username: postgres, password: {superuser}}}
    replication: {{username: replicator, password: {replication}}}
    rewind: {{username: postgres, password: {superuser}}}
  parameters: {{unix_socket_directories: /var/run/postgresql, password_encryption: scram-sha-256}}
  pg_hba:
    - local all postgres peer
    - host replication replicator 10.0.0.0/16 scram-sha-256
    - host all all 10.0.0.0/16 scram-sha-256
    - host all all 127.0.0.1/32 scram-sha-256
"""
_FIRST = f"""#!/bin/sh
exec psql --quiet --set ON_ERROR_STOP=1 "$1" <<'SQL'
CREATE ROLE {DATABASE_USER} LOGIN PASSWORD '{DATABASE_VERIFIER}';
CREATE DATABASE {DATABASE} OWNER {DATABASE_USER};
SQL
"""
_ANY_PRIMARY = (
    """for host in {addresses}; do curl -fs -m 1 -o /dev/null "http://$host:8008/primary" && exit 0; done; exit 1"""
)
_WAIT = """#!/bin/sh
# A new replica comes after the primary, or it could become the primary itself.
[ -e {data}/PG_VERSION ] && exit 0
for try in $(seq 300); do ({any_primary}) && exit 0; sleep 0.2; done
exit 1
"""
_DROP_IN = """[Unit]
Wants=etcd.service
After=etcd.service
[Service]
Type=exec
{before}Restart=always
RestartSec=1
"""


def _addresses() -> list[str]:
    return [host.private for host in of_role("database") if host.private]


def _furnish(seed: Seed) -> None:
    hosts, own = of_role("database"), seed.host
    cluster = ",".join(f"{host.name}=http://{host.private}:2380" for host in hosts)
    seed.file("/etc/default/etcd", _ETCD.format(name=own.name, address=own.private, cluster=cluster))
    others = " ".join(address for address in _addresses() if address != own.private)
    seed.file("/etc/patroni/join", _JOIN.format(others=others, name=own.name, address=own.private), 0o755)
    seed.file("/etc/systemd/system/etcd.service.d/lab.conf", _ETCD_DROP_IN)
    uid, gid = seed.login_of("postgres")
    config = _PATRONI.format(
        name=own.name,
        address=own.private,
        etcd=", ".join(f'"{address}:2379"' for address in _addresses()),
        data=_DATA,
        superuser=SUPERUSER_PASSWORD,
        replication=REPLICATION_PASSWORD,
    )
    seed.file("/etc/patroni/config.yml", config, 0o600, uid, gid)
    seed.file("/etc/patroni/first", _FIRST, 0o700, uid, gid)
    wait = _WAIT.format(data=_DATA, any_primary=_any_primary())
    seed.file("/etc/patroni/wait", wait, 0o755)
    before = "" if own == hosts[0] else "ExecStartPre=/etc/patroni/wait\n"
    seed.file("/etc/systemd/system/patroni.service.d/lab.conf", _DROP_IN.format(before=before))


def _any_primary() -> str:
    return _ANY_PRIMARY.format(addresses=" ".join(_addresses()))


def role() -> Role:
    """A database host."""
    after = "pg_dropcluster 15 main || true\nrm -rf /var/lib/etcd/*\n"
    serving = f"curl -fs -m 1 -o /dev/null http://127.0.0.1:8008/health && ({_any_primary()})"
    return Role(layer=Layer("database", PACKAGES, after=after), furnish=_furnish, serving=serving, cluster=True)
