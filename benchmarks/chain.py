"""The stages on 400,000 events, one worker, one chunk, against uproot reading the same columns."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.measuring import Setting, Spread, divided, seconds_of
from benchmarks.results import Result, Row, at_least, at_most
from benchmarks.runs import (
    HISTOGRAMS,
    MASSES,
    PER_EVENT,
    POST_PROCESSING,
    RAREST,
    STAGES,
    new_run,
    read_plainly,
)
from benchmarks.samples import make_sample
from services.monitoring import peak_memory_bytes

EVENTS = 400_000


def measure(setting: Setting) -> Result:
    """Return what the stages cost."""
    n_events = setting.size(EVENTS)
    paths = make_sample(setting.samples, n_events)
    plain, stages = [], []
    read_plainly(paths)
    n_masses = n_channels = 0
    for _ in range(setting.repeat):
        plain.append(seconds_of(lambda: read_plainly(paths), setting.clock))
        run = new_run(paths, setting.new_folder(), n_events // RAREST)
        stages.append(run.seconds(setting.clock, tuple(STAGES)))
        n_masses = run.reports[MASSES].made["masses"]
        n_channels = run.reports[HISTOGRAMS].made["histograms"]
    of_stage = {name: [seconds[name] for seconds in stages] for name in STAGES}
    per_event = [sum(seconds[name] for name in PER_EVENT) for seconds in stages]
    ratios = Spread.of(divided(per_event, plain))

    def masses_per_second(stage: str) -> Spread:
        return Spread.of([n_masses / seconds / 1e6 for seconds in of_stage[stage]])

    rows = (
        Row(
            "parsing + masses + post-processing, one worker, against plain uproot reading",
            ratios,
            "times",
            at_most(2.5),
        ),
        Row("mass stage alone", masses_per_second(MASSES), "million masses/s", at_least(4)),
        Row("post-processing", masses_per_second(POST_PROCESSING), "million masses/s", at_least(4)),
        Row(
            "histogram stage, per histogram",
            Spread.of([1e3 * seconds / n_channels for seconds in of_stage[HISTOGRAMS]]),
            "ms",
        ),
    )
    return Result(
        rows,
        {
            "events": n_events,
            "masses": n_masses,
            "histograms": n_channels,
            "plain uproot": asdict(Spread.of(plain)),
            "seconds per stage": {name: asdict(Spread.of(of_stage[name])) for name in STAGES},
            "peak memory bytes of this process": peak_memory_bytes(),
        },
    )
