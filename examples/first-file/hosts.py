"""The smallest desired state: one host with one package and one file."""

from __future__ import annotations

from kbstate import File, Host, Package, Site


def hosts(site: Site) -> list[Host]:
    """Every host that this directory declares."""
    return [
        Host(
            name="bare-01",
            address="10.0.0.31",
            modules={
                "hello": [
                    Package(name="jq"),
                    File(path="/etc/motd", content="Looked after by kbstate.\n", owner="root", mode="0644"),
                ],
            },
        )
    ]
