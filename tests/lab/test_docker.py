"""What is made of Docker's on a real host: nothing that served is lost when its successor does not stay up."""

from __future__ import annotations

import pytest

from kbstate.lab.host import Host
from kbstate.lab.lab import Lab
from tests.conftest import Hosts
from tests.lab.tree import Tree, one_host

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def dock(module_dock: Hosts) -> Host:
    host = module_dock()
    host.run("docker pull --quiet busybox:1.36")
    return host


def state(host: Host, name: str = "kb-app") -> list[str]:
    said = host.run(
        ["docker", "inspect", "--format", "{{.Id}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", name]
    )
    return said.stdout.split()


def app(host: Host, fields: str) -> str:
    common = 'name="kb-app", image="busybox:1.36", restart="unless-stopped", stop_signal="SIGKILL", settles=2'
    return one_host(host, f"Container({common}, {fields})")


GOOD = 'command=("sleep", "1000"), ports=("18081:80",)'
BAD = [
    ('command=("sh", "-c", "echo dying; sleep 1; exit 3")', "dying"),
    ('command=("nosuchprogram",)', "nosuchprogram"),
    ('command=("sleep", "1000"), ports=("18082:80",)', "port is already allocated"),
    ('command=("sleep", "1000"), mounts=({"source": "/nosuch", "target": "/x"},)', "/nosuch"),
]


def test_the_predecessor_is_put_back(lab: Lab, dock: Host) -> None:
    tree = Tree(lab, f"replace-{dock.name}", app(dock, GOOD))
    tree.apply()
    before = state(dock)
    dock.run("docker run -d --name kb-taken -p 18082:80 --stop-signal SIGKILL busybox:1.36 sleep 1000")
    for fields, said in BAD:
        tree.write("desired/hosts.py", app(dock, fields))
        done = tree.kbstate("apply", "--auto-approve")
        assert done.returncode == 1, done.stdout + done.stderr
        assert said in done.stdout + done.stderr
        assert state(dock) == before == [before[0], "true", "unless-stopped"]
    dock.run("test ! -e /nosuch")
    tree.write("desired/hosts.py", app(dock, GOOD))
    tree.unchanged()


def test_an_interrupted_replacement_is_finished(lab: Lab, dock: Host) -> None:
    tree = Tree(lab, f"interrupted-{dock.name}", app(dock, 'command=("sleep", "1000")'))
    tree.apply()
    dock.run("docker stop kb-app; docker rename kb-app kb-app.kbstate-old")
    dock.run("docker create --name kb-app.kbstate-new busybox:1.36 true")
    tree.apply()
    tree.unchanged()
    assert dock.run("docker ps --all --format '{{.Names}}' | grep ^kb-app").stdout == "kb-app\n"


def test_a_network_that_cannot_be_made_anew_is_as_before(lab: Lab, dock: Host) -> None:
    def declared(subnet: str) -> str:
        network = f'DockerNetwork(name="kb-lan", subnet="{subnet}")'
        joined = 'image="busybox:1.36", command=("sleep", "1000"), stop_signal="SIGKILL", networks=("kb-lan",)'
        return one_host(dock, f'{network}, Container(name="kb-joined", {joined})')

    tree = Tree(lab, f"network-{dock.name}", declared("10.78.0.0/24"))
    tree.apply()
    dock.run("docker network create --subnet 10.79.0.0/24 kb-taken")
    tree.write("desired/hosts.py", declared("10.79.0.0/24"))
    assert tree.kbstate("apply", "--auto-approve").returncode == 1
    tree.write("desired/hosts.py", declared("10.78.0.0/24"))
    tree.unchanged()
    dock.run("docker network rm kb-taken")
    tree.write("desired/hosts.py", declared("10.79.0.0/24"))
    tree.apply()
    tree.unchanged()


def test_a_tag_that_stands_for_another_digest(lab: Lab, dock: Host) -> None:
    """Image and container are seen to differ in one plan."""
    digest = lab.digests["haproxy:2.8.5"]
    image = f'Image(name="haproxy:2.8.5", digest="{digest}")'
    made_of = 'Container(name="kb-tag", image="haproxy:2.8.5", command=("sleep", "1000"), stop_signal="SIGKILL")'
    tree = Tree(lab, f"digest-{dock.name}", one_host(dock, f"{image}, {made_of}"))
    tree.apply()
    dock.run("docker pull --quiet haproxy:2.8.6; docker rm -f kb-tag; docker rmi --force haproxy:2.8.5")
    dock.run("docker tag haproxy:2.8.6 haproxy:2.8.5")
    dock.run("docker run -d --name kb-tag --stop-signal SIGKILL haproxy:2.8.5 sleep 1000")
    changes = {c["address"]: (c["cause"], [d["path"] for d in c["diff"]]) for c in tree.plan()["changes"]}
    assert changes == {"image:haproxy:2.8.5": ("drift", ["digest"]), "container:kb-tag": ("drift", ["image"])}
    tree.apply()
    tree.unchanged()
