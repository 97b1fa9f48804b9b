"""Run the benchmarks, print one table, and write one JSON file: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from benchmarks import (
    chain,
    files,
    histograms,
    idiomatic,
    memory,
    merge,
    parallel,
    plan,
    selection,
    spectrum_sums,
    start,
    where,
)
from benchmarks.measuring import Clock, Setting
from benchmarks.results import Result, document, table
from services.software import versions
from services.workers import available_cores

# In the order of the table: what the whole costs, what its parts do, and what large runs need.
BENCHMARKS: dict[str, Callable[[Setting], Result]] = {
    "chain": chain.measure,
    "where": where.measure,
    "idiomatic": idiomatic.measure,
    "histograms": histograms.measure,
    "parallel": parallel.measure,
    "memory": memory.measure,
    "start": start.measure,
    "small_files": files.small_files,
    "many_branches": files.many_branches,
    "selection": selection.measure,
    "plan": plan.measure,
    "spectrum_sums": spectrum_sums.measure,
    "merge": merge.measure,
}
DEFAULT_JSON = Path("output") / "benchmarks.json"
QUICK_NOTE = "--quick: samples are too small for the aims; this shows only that all of it runs"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"only these of {', '.join(BENCHMARKS)}")
    add("--quick", action="store_true", help="samples of a tenth of the size")
    add("--repeat", type=int, default=5, help="how often to measure (default: 5)")
    add(
        "--clock",
        choices=get_args(Clock),
        default="wall",
        help="on a machine that others use too: seconds of the processor, where that makes sense",
    )
    add("--markdown", action="store_true", help="print the table as docs/performance.md has it")
    add("--json", type=Path, default=DEFAULT_JSON, help=f"file to write (default: {DEFAULT_JSON})")
    add("--samples", type=Path, metavar="DIR", help="keep the samples here, for the next time")
    add("--scratch", type=Path, metavar="DIR", help="make the runs here (default: as TMPDIR says)")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"expected names of {', '.join(BENCHMARKS)}; found {', '.join(unknown)}")
    return options


def about(options: argparse.Namespace) -> dict[str, Any]:
    """Return on what machine and with what software the numbers were measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "cores": available_cores(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "load": os.getloadavg(),
        },
        "software": versions(),
        "options": {"quick": options.quick, "repeat": options.repeat, "clock": options.clock},
    }


def _processor() -> str:
    """Return what the system calls its processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def heading(measured: dict[str, Any]) -> str:
    """Return the line above the table."""
    machine, software = measured["machine"], measured["software"]
    libraries = ", ".join(f"{name} {software[name]}" for name in ("uproot", "numpy", "awkward"))
    return (
        f"{measured['date'][:10]}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 1e9:.0f} GB; Python {software['python']}, {libraries}; "
        f"{measured['options']['clock']} clock, {measured['options']['repeat']} turns, "
        f"load {machine['load'][0]:.1f} at the start"
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write; return 1 if an aim is not met."""
    options = parse_arguments(arguments)
    measured = about(options)
    results: dict[str, Result] = {}
    with TemporaryDirectory(dir=options.scratch) as temporary:
        runs = Path(temporary)
        samples = (options.samples or runs / "samples").absolute()
        setting = Setting(samples, runs, options.quick, options.repeat, options.clock)
        for name in options.names or BENCHMARKS:
            started = time.perf_counter()
            results[name] = BENCHMARKS[name](setting)
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    rows = [row for result in results.values() for row in result.rows]
    print(heading(measured), "", table(rows, markdown=options.markdown), sep="\n")
    if options.quick:
        print(QUICK_NOTE)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(results, measured), indent=1)
    options.json.write_text(f"{text}\n", encoding="utf-8")
    print(f"written: {options.json}")
    is_missed = any(row.aim and not row.aim.is_met(row.measured.median) for row in rows)
    return int(is_missed and not options.quick)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
