"""Why a host could not be reached, in one sentence, out of what ssh and sudo said."""

from __future__ import annotations

from typing import Protocol


class Login(Protocol):
    """Where somebody wanted to log in."""

    @property
    def address(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def port(self) -> int: ...


def why_unreachable(login: Login, errors: str, status: int | None) -> str:
    """Source: the messages of OpenSSH 9.2 and sudo 1.9.13, under LC_ALL=C."""
    at = f"{login.user}@{login.address}" + ("" if login.port == 22 else f" port {login.port}")
    known_as = login.address if login.port == 22 else f"'[{login.address}]:{login.port}'"
    refused = f"sudo did not accept the password of {login.user}"
    sentences = {
        "HOST IDENTIFICATION HAS CHANGED": "its SSH host key is another than the known one: if it was rebuilt, "
        f"check the new key at its console, then remove the old one (ssh-keygen -R {known_as}) and add the new one",
        "Host key verification failed": "its SSH host key is not known: check it at its console, "
        "then add it to known_hosts",
        "Permission denied": f"the login as {at} was refused: is the right key offered, and authorised there?",
        "Connection refused": f"no SSH server answers at {at}: is sshd running?",
        "timed out": f"{at} did not answer in time: is it up, and the address right?",
        "Could not resolve": f"its address {login.address} cannot be resolved",
        "No route to host": f"there is no route to {login.address}: is it up, and the address right?",
        "Network is unreachable": f"there is no network to {login.address}",
        "a password is required": f"sudo asks {login.user} for a password: declare sudo_password for the host, "
        "or NOPASSWD on it",
        "Sorry, try again": refused,
        "incorrect password attempt": refused,
        "is not in the sudoers": f"{login.user} may not use sudo there",
        "sudo: not found": f"{login.user} is not root, and sudo is not installed there",
    }
    for sign, sentence in sentences.items():
        if sign in errors:
            return sentence
    last = (errors.strip().splitlines() or [f"ssh ended with {status}"])[-1]
    return f"no session as {at}: {last[:200]}"
