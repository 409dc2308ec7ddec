"""The lab's image registry: a cached store, filled once, of which each lab serves a copy of its own."""

from __future__ import annotations

import shlex
from pathlib import Path

from kbstate.lab import images
from kbstate.lab.mirror import mirror
from kbstate.lab.pieces import Piece, obtain, source
from kbstate.lab.places import discard, write_json
from kbstate.lab.processes import contained

PORT = 5000
_CONFIG = """version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {store}}}
  delete: {{enabled: true}}
http: {{addr: "{address}:{port}"}}
"""
_FILL = """
set -eu
ip link set lo up
docker-registry serve {config} >&2 &
tries=0
until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do
    tries=$((tries + 1)); [ $tries -lt 200 ] || exit 1; sleep 0.05
done
{copies}
"""


def configuration(store: Path, address: str) -> str:
    """The registry's configuration file."""
    return _CONFIG.format(store=store, address=address, port=PORT)


def _copies(where: Path, scratch: Path) -> list[str]:
    """One command for each tag; the digest that the registry gave it is kept in a file."""
    lines = []
    for image in images.IMAGES:
        archive = images.make(image, scratch)
        for tag in image.tags:
            kept = where / "digests" / tag.replace("/", "%")
            words = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
            words += [f"--digestfile={kept}", f"docker-archive:{archive}:{image.tags[0]}"]
            lines.append(shlex.join([*words, f"docker://127.0.0.1:{PORT}/{tag}"]))
    return lines


def _build(where: Path) -> None:
    scratch, store = where / ".scratch", where / "store"
    for directory in (scratch, store, where / "digests"):
        directory.mkdir()
    config = scratch / "registry.yml"
    config.write_text(configuration(store, "127.0.0.1"))
    script = _FILL.format(config=config, port=PORT, copies="\n".join(_copies(where, scratch)))
    contained(["unshare", "--net", "/bin/bash", "-c", script])
    found = {file.name.replace("%", "/"): file.read_text().strip() for file in (where / "digests").iterdir()}
    write_json(where / "digests.json", {tag.removeprefix("library/"): digest for tag, digest in found.items()})
    discard(scratch)


def registry() -> Piece:
    """The filled store and `digests.json`: what each tag stands for."""
    return Piece("registry", (source(__name__), source(images), str(mirror().path)), _build)


def store() -> Path:
    """The filled store."""
    return obtain(registry()) / "store"
