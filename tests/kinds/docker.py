"""What Docker 20.10.24 says of a container, as recorded on Debian 12, and how tests alter it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kbstate.containers.inspected import ContainerState, Inspected
from kbstate.dockerd import ImageState

INSPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "docker_container.json").read_text())


def overlaid(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """The one with what the other says: objects of the first two levels are joined."""
    joined = {
        key: {**base[key], **value} if isinstance(base.get(key), dict) else value for key, value in overlay.items()
    }
    return {**base, **joined}


def image(*names: str) -> ImageState:
    config = {"Env": ["PATH=/bin"], "Labels": {"from": "image"}}
    return ImageState(INSPECTED["Image"], frozenset(names), "", config)


def container(*overlays: dict[str, Any]) -> ContainerState:
    """The recorded container, altered; five seconds after its start."""
    said = INSPECTED
    for overlay in overlays:
        said = overlaid(said, overlay)
    return ContainerState(Inspected.model_validate(said), image("busybox:1.36"), False, 1795574036.0, ())
