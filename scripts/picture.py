"""The picture of a plan in the README, made of a real one by what `kbstate show` prints.

    python -m scripts.picture              write docs/plan.svg anew from the recorded plan
    python -m scripts.picture --record     make that plan first: on a lab host, applied and then changed by hand

Exit code: 0, or 64 for anything else on the command line.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from kbstate.lab.lab import Lab
from kbstate.lab.places import default_name
from kbstate.plan import Plan
from kbstate.report.plan import print_plan

ROOT = Path(__file__).resolve().parents[1]
HOST = "haproxy-01"
RECORDED = ROOT / "examples" / "recorded" / f"plan-{HOST}.json"
PICTURE = ROOT / "docs" / "plan.svg"
COLUMNS = 96

BY_HAND = """
sed -i '0,/timeout connect 3s/s//timeout connect 30s/' /opt/keybuzz/haproxy/conf/haproxy.cfg
echo '"app" "a password"' >> /opt/keybuzz/pgbouncer/conf/userlist.txt
sysctl -qw net.ipv4.tcp_fin_timeout=60
systemctl disable -q --now redis-update-master.timer
"""
"""What somebody has done to the host meanwhile."""
NEXT_VERSION = "HAPROXY_IMAGE_TAG=2.8.6"
"""What is declared meanwhile."""

INK, PAPER = (214, 219, 227), (26, 29, 35)
RED, GREEN, YELLOW = (240, 98, 104), (119, 204, 130), (230, 186, 92)
BLUE, MAGENTA, CYAN = (104, 160, 240), (198, 130, 230), (86, 190, 200)
PALETTE = [PAPER, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, INK]
THEME = TerminalTheme(PAPER, INK, PALETTE, PALETTE)
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
    font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
    font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""As rich has it, but with the fonts of whoever looks: a picture must not fetch anything."""


def picture(plan: Plan) -> str:
    """The plan as an SVG."""
    console = Console(
        record=True,
        file=io.StringIO(),
        width=COLUMNS,
        force_terminal=True,
        color_system="standard",
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=True,
        no_color=False,
    )
    print_plan(plan, console)
    text: str = console.export_svg(title=f"kbstate plan {HOST}", theme=THEME, code_format=FORMAT, unique_id="plan")
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def recorded() -> Plan:
    return Plan.from_json(RECORDED.read_text(), str(RECORDED))


def record() -> None:
    """Apply the host on a lab, change it by hand and in what is declared, and keep the plan that follows."""
    lab = Lab(default_name())
    try:
        lab.up([HOST], progress=print)
        lab.controller.run(["kbstate", "apply", HOST, "--auto-approve"], check=False)  # not healthy: no upstreams
        lab.host(HOST).run(BY_HAND)
        lab.controller.run(["env", NEXT_VERSION, "kbstate", "plan", HOST, "--out", "/root/plan.json"])
        RECORDED.write_text(lab.controller.run(["cat", "/root/plan.json"]).stdout)
    finally:
        lab.down(progress=print)


def main() -> int:
    if sys.argv[1:] not in ([], ["--record"]):
        print(__doc__, file=sys.stderr)
        return 64
    if sys.argv[1:]:
        record()
    PICTURE.write_text(picture(recorded()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
