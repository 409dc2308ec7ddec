"""Every host of the site that kbstate looks after."""

from __future__ import annotations

from collections.abc import Iterator

from load_balancer import load_balancer

from kbstate import Host, Site


def hosts(site: Site) -> Iterator[Host]:
    """One host for each server in the inventory that has a role here."""
    for server in site.inventory.where(role="lb", subrole="internal-haproxy"):
        yield load_balancer(site, server)
