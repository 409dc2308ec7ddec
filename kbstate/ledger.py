"""What was last applied to a host, kept on the host: how drift is told from a desired state that moved."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kbstate.resource import Fact, Json, Unknown
from kbstate.shell import feed, q

DIRECTORY = "/var/lib/kbstate"
PATH = f"{DIRECTORY}/ledger.json"
RUNS_KEPT = 100


class Entry(BaseModel):
    """One resource as it was last seen converged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    module: str
    identity: dict[str, str]
    fields: dict[str, str]
    """Field → `recorded` value."""
    created: bool
    """Whether kbstate made it; what had been there before is never deleted, only forgotten."""
    absent: bool = False
    requires: tuple[str, ...] = ()


class Run(BaseModel):
    """One apply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: str
    by: str
    digest: str
    commit: str | None = None
    reason: str | None = None
    outcome: Literal["started", "applied", "failed", "interrupted"] = "started"
    changes: dict[str, int] = Field(default_factory=dict)


class Ledger(BaseModel):
    """The file `/var/lib/kbstate/ledger.json` (0600, root)."""

    model_config = ConfigDict(extra="forbid")

    format_version: Literal["1"] = "1"
    entries: dict[str, Entry] = Field(default_factory=dict)
    intents: dict[str, Entry] = Field(default_factory=dict)
    """What the last run was about to create: if it was killed, it is ours all the same. Without fields."""
    runs: tuple[Run, ...] = ()

    def moved(self, names: Mapping[str, str]) -> Ledger:
        """The same ledger with renamed addresses (`moved` of the host), old → new."""
        entries = {names.get(a, a): e for a, e in self.entries.items()}
        intents = {names.get(a, a): e for a, e in self.intents.items()}
        return self.model_copy(update={"entries": entries, "intents": intents})


def recorded(value: Json) -> str:
    """A value as the ledger keeps it: canonical JSON, its hash where it is long. Secrets are keyed digests already."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text if len(text) <= 120 else "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class LedgerFact(Fact[None, Ledger]):
    """The ledger, an empty one where there is none yet."""

    def command(self, wanted: Sequence[None]) -> str:
        # an empty file is a damaged one, and not none
        return f"if [ -e {q(PATH)} ] || [ -L {q(PATH)} ]; then printf 'ledger '; base64 -w0 < {q(PATH)}; fi"

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, Ledger | Unknown | None]:
        if not output:
            return {None: Ledger()}
        try:
            return {None: Ledger.model_validate_json(base64.b64decode(output.removeprefix("ledger "), validate=True))}
        except (ValidationError, ValueError):
            return {None: Unknown(f"the ledger {PATH} is damaged: restore it, or remove it to start a new one")}


def write_ledger(content: str) -> Iterator[str]:
    """Replace the ledger in one rename."""
    yield "\n".join(
        [
            f"set -eu; umask 077; mkdir -p {q(DIRECTORY)}; t=$(mktemp -p {q(DIRECTORY)} .ledger.XXXXXX)",
            feed('cat > "$t"', content.encode()).rstrip("\n"),
            f'sync -- "$t"; mv -fT -- "$t" {q(PATH)}; sync -- {q(DIRECTORY)}',
        ]
    )
