"""A secret that cannot be printed by accident, and the keyed digests that stand for it wherever something is stored."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from pydantic_core import CoreSchema, core_schema

from kbstate.errors import CredentialError

MASK = "(sensitive)"
SHORTEST = 4
"""Characters of a piece of a secret that is looked for in what programs say."""


class Secret:
    """Bytes that no `str`, `repr`, format, pickle, JSON dump or exception shows; `reveal()` is the only way out.

    A secret read back from a stored observation is *sealed*: only its keyed digest is known.
    """

    __slots__ = ("_label", "_parts", "_sealed", "_value")

    def __init__(self, value: str | bytes, label: str = "secret", parts: Iterable[Secret] = ()) -> None:
        """`parts` are the secrets that went into it, where the rest of it would be no secret by itself."""
        data = value.encode() if isinstance(value, str) else value
        # a call, since what walks the attributes of objects, as deepdiff does, would show the bytes themselves
        self._value: Callable[[], bytes] | None = lambda: data
        self._sealed: str | None = None
        self._label = label
        self._parts = tuple(parts)

    @classmethod
    def sealed(cls, digest: str) -> Secret:
        secret = cls(b"", "sealed")
        secret._value, secret._sealed = None, digest
        return secret

    @property
    def label(self) -> str:
        """Where the value comes from, for messages (`postgres.env: PASSWORD`)."""
        return self._label

    def reveal(self) -> bytes:
        if self._value is None:
            raise ValueError("a sealed secret has no value")
        return self._value()

    def hide_in(self, text: str) -> str:
        """The text without the secret in it: what a program said of a file must not tell what was in the file."""
        if self._parts:
            for part in self._parts:
                text = part.hide_in(text)
            return text
        whole = (self._value() if self._value else b"").decode(errors="replace")
        for piece in sorted({whole, *whole.split()}, key=len, reverse=True):
            if len(piece) >= SHORTEST:
                text = text.replace(piece, MASK)
        return text

    def digest(self, hasher: Hasher) -> str:
        return self._sealed if self._sealed is not None else hasher.digest(self.reveal())

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret) or (self._value is None) != (other._value is None):
            return False
        if self._value is None or other._value is None:
            return self._sealed == other._sealed
        return hmac.compare_digest(self._value(), other._value())

    def __hash__(self) -> int:
        return hash((Secret, self._value and self._value(), self._sealed))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        return core_schema.is_instance_schema(
            cls, serialization=core_schema.plain_serializer_function_ser_schema(lambda _: MASK)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"type": "string", "description": "a secret; by reference to a credential"}


class Hasher:
    """HMAC-SHA256 under the site's `KBSTATE_HASH_KEY`, so that a stored digest does not tell a short secret."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key
        self.key_id = hashlib.sha256(b"kbstate key id" + key).hexdigest()[:8] if key else ""

    def digest(self, value: bytes) -> str:
        """Raises CredentialError when the site has no key yet."""
        if self._key is None:
            raise CredentialError(
                "KBSTATE_HASH_KEY is missing in the credentials: put one into kbstate.env "
                '(echo "KBSTATE_HASH_KEY=$(openssl rand -hex 32)")'
            )
        return f"hmac-sha256:{self.key_id}:{hmac.new(self._key, value, 'sha256').hexdigest()}"

    def knows(self, digest: str) -> bool:
        """Whether the digest was made with this key; with another one it cannot be compared."""
        return digest.startswith(f"hmac-sha256:{self.key_id}:")

    def __repr__(self) -> str:
        return f"Hasher({self.key_id})"
