"""`python -m bench [NAME ...] [--small] [--json FILE]`: run all benches in order, or those named."""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.harness import Result, Settings, describe_machine
from bench.peer import PeerDied
from bench.report import missed, show_machine, show_result

FORMAT = 1
#: In the order in which they run.
BENCHES = ("mechanism", "risk_step", "checks", "stops", "venue", "ring", "waiting", "tick_to_order", "startup")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Stopline on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which benches, of: {', '.join(BENCHES)} (default: all)")
    parser.add_argument("--small", action="store_true", help="a quick pass through every path; the numbers mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in BENCHES:
            parser.error(f"no bench '{name}': choose of {', '.join(BENCHES)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benches and report.

    Returns:
        0; 2 where a bench could not be finished or the results not be written. A goal that was missed is shown, and is
        no error: on a busy or unusual machine it may say more about the machine.
    """
    options = parse(arguments)
    settings = Settings(small=options.small)
    console = Console(width=None if sys.stdout.isatty() else 150)
    machine = describe_machine()
    show_machine(console, machine)
    results: list[Result] = []
    try:
        for name in options.names or BENCHES:
            # A plain line: a spinner's thread would run on the cores that are measured.
            console.print(f"\n[bold]{name}[/bold] …", highlight=False)
            result = importlib.import_module(f"bench.{name}").run(settings)
            show_result(console, result)
            results.append(result)
        if options.json:
            benches = {result.name: result.as_dict() for result in results}
            document = {"format": FORMAT, "small": settings.small, "machine": machine, "benches": benches}
            options.json.write_text(json.dumps(document, indent=2) + "\n")
    except (PeerDied, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    count = len(missed(results))
    if count and not settings.small:
        console.print(f"\n{count} of the goals missed on this machine in this run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
