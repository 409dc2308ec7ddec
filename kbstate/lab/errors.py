"""The lab's one error type."""

from __future__ import annotations

from kbstate.errors import KbstateError


class LabError(KbstateError):
    """The lab cannot do what was asked: one sentence that says why and, where there is a way, what to do."""
