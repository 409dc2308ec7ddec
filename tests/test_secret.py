"""A secret is shown nowhere but by `reveal()`, and a stored digest needs the site's key."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from io import StringIO
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from kbstate.errors import CredentialError
from kbstate.resource import Resource, plain
from kbstate.secret import MASK, Hasher, Secret

VALUE = "tr0ub4dor&3"
HASHER = Hasher(b"key")


class Model(BaseModel):
    secret: Secret
    many: tuple[Secret, ...] = ()


class Thing(Resource):
    kind: ClassVar[str] = "test_secret_thing"
    name: str
    secret: Secret | None = None
    named: dict[str, Secret] | None = None


@pytest.fixture(autouse=True)
def _unregister() -> Any:
    yield
    Resource.registry.pop("test_secret_thing", None)


def secret() -> Secret:
    return Secret(VALUE, "redis.env: PASSWORD")


def shown() -> dict[str, str]:
    """Every way by which a value becomes text."""
    model = Model(secret=secret(), many=(secret(),))
    thing = Thing(name="x", secret=secret(), named={"a": secret()})
    logs = StringIO()
    logger = logging.getLogger("test_secret")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(logs))
    logger.warning("%s %r", secret(), secret())
    return {
        "str": str(secret()),
        "repr": repr(secret()),
        "format": f"{secret()} {secret()!r} {secret()!s} {secret():>40} {secret()!a}",
        "percent": "%s %r" % (secret(), secret()),  # noqa: UP031 - this way, too
        "containers": repr([secret(), {"a": secret()}, (secret(),)]),
        "model": f"{model} {model!r}",
        "model json": model.model_dump_json(),
        "model dict": repr(model.model_dump()),
        "resource": f"{thing} {thing!r} {thing.model_dump_json()} {thing.model_dump()!r}",
        "schema": json.dumps(Model.model_json_schema()),
        "attributes": repr([repr(getattr(secret(), name)) for name in ("label", "__class__", "__slots__")]),
        "log": logs.getvalue(),
        "plain": json.dumps(plain(thing, HASHER)),
        "json default": json.dumps({"a": secret()}, default=str),
    }


@pytest.mark.parametrize("way", list(shown()))
def test_it_is_shown_in_no_way(way: str) -> None:
    text = shown()[way]
    assert text
    assert VALUE not in text
    assert VALUE.encode().hex() not in text


def test_json_and_pickle_refuse_it() -> None:
    with pytest.raises(TypeError):
        json.dumps({"a": secret()})
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(secret(), protocol)
    with pytest.raises(TypeError):
        vars(secret())


def test_a_copy_is_refused_rather_than_leaked() -> None:
    with pytest.raises(TypeError):
        copy.deepcopy(secret())


def test_an_exception_and_its_traceback_do_not_show_it() -> None:
    def fails(value: Secret) -> None:
        raise ValueError(f"cannot use {value}", value)

    with pytest.raises(ValueError, match="cannot use") as caught:
        fails(secret())
    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert MASK in text
    assert VALUE not in text


def test_a_model_that_refuses_it_does_not_show_it() -> None:
    with pytest.raises(ValidationError) as caught:
        Thing(name=secret())
    assert VALUE not in str(caught.value)
    with pytest.raises(ValidationError) as caught:
        Thing(name="x", secret=VALUE)
    assert VALUE not in str(caught.value)  # a password given as plain text is not shown either


def test_deepdiff_does_not_show_it() -> None:
    from deepdiff import DeepDiff

    for before, after in (
        (secret(), Secret("other")),
        (Model(secret=secret()), Model(secret=Secret("other"))),
        ({"a": [secret()]}, {"a": [Secret("other")]}),
    ):
        try:
            text = repr(DeepDiff(before, after)) + DeepDiff(before, after, view="tree").pretty()
        except TypeError:
            continue  # it is not copied or pickled
        assert VALUE not in text


def test_reveal_and_label() -> None:
    assert secret().reveal() == VALUE.encode()
    assert Secret(b"\xff\x00").reveal() == b"\xff\x00"
    assert secret().label == "redis.env: PASSWORD"


def test_what_a_program_says_of_it_is_masked() -> None:
    whole = Secret("user ann\npassword tr0ub4dor&3\nx\n")
    said = "line 2: unknown word 'tr0ub4dor&3' for ann, next"
    assert whole.hide_in(said) == "line 2: unknown word '(sensitive)' for ann, next"


def test_of_what_was_made_with_secrets_only_those_are_masked() -> None:
    made = Secret("bind *:6379\nauth tr0ub4dor&3\n", parts=[secret()])
    assert made.hide_in("in 'bind *:6379': bad; in 'auth tr0ub4dor&3': bad") == (
        "in 'bind *:6379': bad; in 'auth (sensitive)': bad"
    )


def test_a_secret_of_few_letters_does_not_garble_a_sentence() -> None:
    assert Secret("x").hide_in("does not exist") == "does not exist"


def test_equality_and_hash() -> None:
    assert secret() == Secret(VALUE)
    assert secret() != Secret("other")
    assert secret() != VALUE
    assert len({secret(), Secret(VALUE), Secret("other")}) == 2


def test_a_sealed_one_has_only_a_digest() -> None:
    sealed = Secret.sealed(secret().digest(HASHER))
    assert sealed.digest(HASHER) == secret().digest(HASHER)
    assert sealed == Secret.sealed(secret().digest(HASHER))
    assert sealed != secret()
    assert repr(sealed) == MASK
    with pytest.raises(ValueError, match="a sealed secret has no value"):
        sealed.reveal()


@given(st.binary(), st.binary(min_size=1), st.binary(min_size=1))
def test_digests(value: bytes, key: bytes, other: bytes) -> None:
    digest = Hasher(key).digest(value)
    assert digest == Secret(value).digest(Hasher(key))
    assert Hasher(key).knows(digest)
    assert key == other or (not Hasher(other).knows(digest) and Hasher(other).digest(value) != digest)
    assert Hasher(key).digest(value + b"x") != digest


def test_a_site_without_a_key_is_told_what_to_do() -> None:
    with pytest.raises(CredentialError, match=r"put one into kbstate\.env"):
        Hasher(None).digest(b"x")
    assert not Hasher(None).knows("hmac-sha256:00000000:00")
    assert "key" not in repr(Hasher(b"key"))
