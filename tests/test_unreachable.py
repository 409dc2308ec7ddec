from __future__ import annotations

import pytest

from kbstate.channel import Target
from kbstate.unreachable import why_unreachable

ROOT = Target("haproxy-01", "10.0.0.11")
OTHER = Target("haproxy-01", "10.0.0.11", "ops", 2222)

SAID = [
    (
        "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.\n",
        "its SSH host key is another than the known one: if it was rebuilt, check the new key at its console, "
        "then remove the old one (ssh-keygen -R 10.0.0.11) and add the new one",
    ),
    (
        "No ED25519 host key is known for 10.0.0.11 and you asked for strict checking.\nHost key verification failed.",
        "its SSH host key is not known: check it at its console, then add it to known_hosts",
    ),
    (
        "root@10.0.0.11: Permission denied (publickey,password).",
        "the login as root@10.0.0.11 was refused: is the right key offered, and authorised there?",
    ),
    (
        "ssh: connect to host 10.0.0.11 port 22: Connection refused",
        "no SSH server answers at root@10.0.0.11: is sshd running?",
    ),
    (
        "ssh: connect to host 10.0.0.11 port 22: Connection timed out",
        "root@10.0.0.11 did not answer in time: is it up, and the address right?",
    ),
    ("ssh: Could not resolve hostname x: Name or service not known", "its address 10.0.0.11 cannot be resolved"),
    (
        "ssh: connect to host 10.0.0.11 port 22: No route to host",
        "there is no route to 10.0.0.11: is it up, and the address right?",
    ),
    ("connect to host 10.0.0.11: Network is unreachable", "there is no network to 10.0.0.11"),
    ("Sorry, try again.\nsudo: no password was provided", "sudo did not accept the password of root"),
    ("sudo: 1 incorrect password attempt", "sudo did not accept the password of root"),
    (
        "sudo: a password is required",
        "sudo asks root for a password: declare sudo_password for the host, or NOPASSWD on it",
    ),
    ("root is not in the sudoers file.", "root may not use sudo there"),
    ("sh: 1: sudo: not found", "root is not root, and sudo is not installed there"),
    ("first\nsomething odd", "no session as root@10.0.0.11: something odd"),
    ("", "no session as root@10.0.0.11: ssh ended with 255"),
]


@pytest.mark.parametrize(("errors", "sentence"), SAID)
def test_what_ssh_and_sudo_said_becomes_one_sentence(errors: str, sentence: str) -> None:
    assert why_unreachable(ROOT, errors, 255) == sentence


def test_another_port_is_named() -> None:
    assert "ssh-keygen -R '[10.0.0.11]:2222'" in why_unreachable(OTHER, "HOST IDENTIFICATION HAS CHANGED", 255)
    assert "ops@10.0.0.11 port 2222" in why_unreachable(OTHER, "Connection refused", 255)
