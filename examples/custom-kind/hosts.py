"""A desired state with a kind of its own, which stands in the file beside."""

from __future__ import annotations

from alternative import Alternative

from kbstate import Host, Package, Site


def hosts(site: Site) -> list[Host]:
    """Every host that this directory declares."""
    editor = [Package(name="vim-tiny"), Alternative(name="editor", program="/usr/bin/vim.tiny")]
    return [Host(name="bare-01", address="10.0.0.31", modules={"editor": editor})]
