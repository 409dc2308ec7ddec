"""A line of cron in a file of its own: `/etc/cron.d/<name>`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, StringConstraints

from kbstate.kinds.file import File
from kbstate.kinds.group import AccountName
from kbstate.paths import PathQuery, Paths, PathState, remove_file
from kbstate.resource import AnyRead, Change, Line, Read, Resource, Step, Unknown

LONGEST = 998
"""Characters of a command or of an assignment that cron takes. Source: cron's cron.h, MAX_COMMAND."""

NICKNAMES = ("@reboot", "@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@annually", "@yearly")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, DAYS),
)
"""Name, least, most and names of values. Source: crontab(5)."""


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name):
        raise ValueError(
            "must be of letters, digits, '_' and '-': cron ignores files with other names, such as with a dot"
        )
    return name


def _one_blank(text: str) -> str:
    return " ".join(text.split())


Name = Annotated[str, AfterValidator(_file_name)]
Schedule = Annotated[Line, AfterValidator(_one_blank)]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]


class Cron(Resource):
    """A command at given times. The package `cron` runs it; to have it run as missed, declare a timer instead."""

    kind: ClassVar[str] = "cron"

    name: Name
    schedule: Schedule | None = None
    """Five fields such as `*/5 * * * *`, or a nickname such as `@daily`."""
    user: AccountName = "root"
    command: Line | None = None
    """A command of sh(1), `%` standing for itself."""
    env: dict[Variable, Line] = Field(default_factory=dict)
    """Assignments before the line, `MAILTO` and `PATH` among them."""
    strays: tuple[str, ...] = ()
    """Observed only: other lines in the file."""
    accepted: bool = True
    """Observed only: whether cron takes the file: root's, not to be written by others, a line break at its end."""

    @property
    def path(self) -> str:
        return f"/etc/cron.d/{self.name}"

    @property
    def file(self) -> File:
        content = None if self.command is None else render(self)
        return File(path=self.path, content=content, owner="root", group="root", mode="0644")

    def problems(self) -> Iterator[str]:
        if self.absent:
            return
        if self.schedule is None or self.command is None:
            yield "schedule and command are missing"
        if self.schedule is not None:
            yield from schedule_problems(self.schedule)
        if self.command is not None and (self.command != self.command.strip() or not self.command):
            yield "command must not be empty, nor begin or end with a blank"
        if len(_escaped(self.command or "")) > LONGEST:
            yield f"command is longer than the {LONGEST} characters that cron takes: put it into a script"
        for name, value in self.env.items():
            if len(value) > LONGEST - len(name):
                yield f"env: {name} is longer than the {LONGEST} characters that cron takes"
            if _quoted(value) is None:
                yield f"env: {name} holds both kinds of quotes and needs one around it, which cron cannot read"
        if self.strays or not self.accepted:
            yield "strays and accepted are observed, not declared"

    def reads(self) -> Mapping[str, AnyRead]:
        return {"state": Read(Paths, PathQuery(self.path, ""))}

    def observe(self, state: PathState | None) -> Self | Unknown | None:
        if state is None:
            return None
        if state.type != "file" or state.content is None:
            return Unknown(f"{self.path} is a {state.type}, or too large")
        text = state.content.decode("utf-8", "surrogateescape")
        env, jobs, strays = parse(text)
        schedule, user, command = jobs[0] if jobs else ("", "", "")
        values = {
            "schedule": schedule,
            "user": user,
            "command": command,
            "env": env,
            "strays": (*(" ".join(job) for job in jobs[1:]), *strays),
            "accepted": state.uid == "0" and not int(state.mode, 8) & 0o022 and text.endswith("\n"),
        }
        return type(self)(name=self.name).model_copy(update=values)

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(remove_file, {"path": self.path}, "remove the file")
        else:
            yield from self.file.steps(change.model_copy(update={"action": "create"}))

    def needs(self) -> Iterator[str]:
        yield from ("package:*", f"user:{self.user}")

    def backup(self) -> Iterator[str]:
        yield self.path


# --- schedules --------------------------------------------------------------------------------------------------


def schedule_problems(schedule: str) -> Iterator[str]:
    """What cron would refuse, and with it the whole file. Source: crontab(5)."""
    fields = schedule.split()
    if schedule.startswith("@"):
        if schedule not in NICKNAMES:
            yield f"schedule must be five fields or one of {', '.join(NICKNAMES)}"
        return
    if len(fields) != 5:
        yield f"schedule must have five fields (minute, hour, day, month, day of the week), not {len(fields)}"
        return
    for text, (label, least, most, names) in zip(fields, FIELDS, strict=True):
        for item in text.split(","):
            if not _item_is_right(item, least, most, names):
                example = f"*, */5, {least + 1} or {least}-{most}/2"
                yield f"schedule: {item!r} is no {label} from {least} to {most}, such as {example}"


def _item_is_right(item: str, least: int, most: int, names: tuple[str, ...]) -> bool:
    """A star, a value or a range; a step only behind a star or a range."""
    match = re.fullmatch(r"(?:\*|(\w{1,3})(?:-(\w{1,3}))?)(?:/(\d{1,2}))?", item, re.ASCII)
    if match is None:
        return False
    first, last, step = match.groups()
    if step is not None and (not 1 <= int(step) <= most or (first is not None and last is None)):
        return False
    low = least if first is None else _number(first, least, names)
    high = low if last is None else _number(last, least, names)
    return low is not None and high is not None and least <= low <= high <= most


def _number(text: str, least: int, names: tuple[str, ...]) -> int | None:
    if text.lower() in names:
        return least + names.index(text.lower())
    return int(text) if text.isdecimal() else None


# --- the file ---------------------------------------------------------------------------------------------------


def render(job: Cron) -> str:
    """The file. Assignments count for the lines below them."""
    env = [f"{name}={_quoted(value)}" for name, value in job.env.items()]
    return "\n".join(["# written by kbstate", *env, f"{job.schedule} {job.user} {_escaped(job.command or '')}", ""])


def _escaped(command: str) -> str:
    """A bare `%` would end the command, and of two backslashes cron takes one."""
    return command.replace("\\", r"\\").replace("%", r"\%")


def _unescaped(command: str) -> str:
    """What cron hands to the shell; behind a bare `%` comes what is put in, in lines."""
    return re.sub(r"\\([\\%])|%", lambda match: match.group(1) or "\n", command)


def _quoted(value: str) -> str | None:
    """A value as cron reads it back: as it is, or within the quotes that it does not hold; None if neither will do."""
    if value and value == value.strip() and value[0] not in "\"'":
        return value
    return next((f"{quote}{value}{quote}" for quote in "\"'" if quote not in value), None)


def parse(text: str) -> tuple[dict[str, str], list[tuple[str, str, str]], list[str]]:
    """Assignments, jobs as (schedule, user, command), and lines that are neither. Source: crontab(5)."""
    env: dict[str, str] = {}
    jobs: list[tuple[str, str, str]] = []
    strays: list[str] = []
    for line in text.split("\n"):
        bare = line.strip(" \t")
        assignment = re.fullmatch(r"""(["']?)([^\s"'=]+)\1[ \t]*=[ \t]*(.*)""", bare)
        job = re.fullmatch(r"(@\S+|(?:[^\s@]\S*\s+){4}\S+)\s+(\S+)\s+(.*)", line.lstrip(" \t"))
        if not bare or bare.startswith("#"):
            continue
        if assignment and not jobs:  # one below a job does not count for it
            env[assignment.group(2)] = _unquoted(assignment.group(3))
        elif job and not assignment:
            jobs.append((_one_blank(job.group(1)), job.group(2), _unescaped(job.group(3))))
        else:
            strays.append(bare)
    return env, jobs, strays


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0] else value
