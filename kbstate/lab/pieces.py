"""The cache: pieces that all labs share, each built once under a lock and named by a digest of its recipe."""

from __future__ import annotations

import hashlib
import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from kbstate.lab.places import cache_dir, discard, labs_dir, locked, read_json


@dataclass(frozen=True)
class Piece:
    """Something that takes long to make and is the same for every lab."""

    name: str
    recipe: tuple[str, ...]
    build: Callable[[Path], None]

    @property
    def path(self) -> Path:
        """Where the piece is, or will be."""
        digest = hashlib.sha256("\0".join(self.recipe).encode()).hexdigest()[:12]
        return cache_dir() / f"{self.name}-{digest}"


def source(module: ModuleType | str) -> str:
    """The text of a module, for recipes that change when it does."""
    return inspect.getsource(sys.modules[module] if isinstance(module, str) else module)


def tell(text: str) -> None:
    """Progress, for people: on standard error."""
    print(text, file=sys.stderr, flush=True)


def _in_use(path: Path) -> bool:
    """Whether a host stands on it, or a lab's infra serves it."""
    recorded = (read_json(file) or {} for file in labs_dir().glob("*/hosts/*/host.json"))
    used = [Path(layer) for host in recorded for layer in host.get("layers", ())]
    used += [file.resolve() for file in labs_dir().glob("*/infra/archive")]
    return any(place.is_relative_to(path) for place in used)


def _drop_older(piece: Piece) -> None:
    for other in cache_dir().glob(f"{piece.name}-" + "[0-9a-f]" * 12):
        if other != piece.path and not _in_use(other):
            discard(other)


def obtain(piece: Piece) -> Path:
    """The piece, built now if it is not in the cache; an interrupted build leaves nothing that looks finished."""
    if piece.path.exists():
        return piece.path
    with locked(cache_dir() / f".lock-{piece.name}"):
        if piece.path.exists():
            return piece.path
        began = time.monotonic()
        tell(f"building {piece.name} (once)")
        fresh = cache_dir() / f".new-{piece.name}"
        discard(fresh)
        fresh.mkdir(parents=True)
        fresh.chmod(0o755)
        piece.build(fresh)
        fresh.rename(piece.path)
        _drop_older(piece)
        tell(f"built {piece.name} in {time.monotonic() - began:.1f} s")
    return piece.path
