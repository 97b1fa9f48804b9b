"""The same masses as a user would make them with awkward, vector and hist: the alternative.

It reads all events at once and does for each final state and combination what the libraries'
tutorials show. Same cuts, same ranks, same binning: the counts are those of the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import awkward as ak
import hist
import numpy as np
import uproot
import vector

from benchmarks.measuring import Setting, Spread, divided, seconds_of
from benchmarks.results import Result, Row, at_least
from benchmarks.runs import FETCHING, MASSES, PARSING, RAREST, Run, new_run
from benchmarks.samples import make_sample
from schemas.config import Config
from schemas.inputs import Sample
from schemas.particles import BY_LETTER, BY_NAME
from services.calculations.combinatorics import combinations
from services.calculations.spectra import Grid
from services.contents import sum_spectra

EVENTS = 400_000
COLLECTIONS = {"e": "Electron", "m": "Muon", "j": "Jet", "g": "Photon", "t": "Tau"}
# Which objects, by letter and rank, are added up: ((e, 0), (e, 1), (j, 0)).
Ranks = tuple[tuple[str, int], ...]


def read(path: Path) -> dict[str, ak.Array]:
    """Return the objects of a file as momenta in GeV, by letter."""
    found = {}
    with uproot.open(path) as file:
        tree = file["Events"]
        there = set(tree.keys())
        for letter, name in COLLECTIONS.items():
            columns = [q for q in ("pt", "eta", "phi", "mass") if f"{name}_{q}" in there]
            arrays = tree.arrays([f"{name}_{q}" for q in columns])
            values = {q: ak.values_astype(arrays[f"{name}_{q}"], np.float64) for q in columns}
            particle = BY_LETTER[letter]
            if letter not in "jt":
                values["mass"] = ak.full_like(values["pt"], particle.mass_gev or 0.0)
            found[letter] = ak.zip(values, with_name="Momentum4D")
    return found


def select(objects: Mapping[str, ak.Array], config: Config) -> dict[str, ak.Array]:
    """Return what the cuts leave, the largest pt first, in events with allowed multiplicities."""
    parsing = config.parsing_task_config
    chosen = {}
    keep: ak.Array | bool = True
    for letter, momenta in objects.items():
        cut = getattr(parsing.kinematic_cuts, BY_LETTER[letter].key)
        passed = momenta[(momenta.pt >= cut.pt_min) & (abs(momenta.eta) <= cut.eta_max)]
        chosen[letter] = passed[ak.argsort(passed.pt, ascending=False, stable=True)]
        keep = keep & (
            ak.num(passed) <= getattr(parsing.particle_counts, BY_LETTER[letter].key).max
        )
    return {letter: momenta[keep] for letter, momenta in chosen.items()}


def all_ranks(config: Config) -> dict[str, Ranks]:
    """Return what is added up for each combination, by its name."""
    return {
        str(combination): tuple(
            (window.letter, rank)
            for window in combination.windows
            for rank in range(window.start, window.stop)
        )
        for combination in combinations(config.mass_calculation_task_config)
    }


def histograms(paths: Sequence[Path], config: Config) -> dict[str, hist.Hist]:
    """Return the histogram of every combination in every final state that is not too rare."""
    vector.register_awkward()
    parts = [select(read(path), config) for path in paths]
    objects = {letter: ak.concatenate([part[letter] for part in parts]) for letter in COLLECTIONS}
    letters = [BY_NAME[n].letter for n in config.mass_calculation_task_config.final_state_objects]
    counts = np.stack([ak.to_numpy(ak.num(objects[letter])) for letter in letters], axis=1)
    states, which, populations = np.unique(counts, axis=0, return_inverse=True, return_counts=True)
    grid = Grid.of(config.post_processing_task_config)
    found = {}
    for number, state in enumerate(states):
        if populations[number] < config.mass_calculation_task_config.min_events_per_fs:
            continue
        of_type = dict(zip(letters, state.tolist(), strict=True))
        in_state = which.ravel() == number
        here = {letter: objects[letter][in_state] for letter in letters}
        name = "_".join(f"{count}{letter}" for letter, count in of_type.items())
        for combination, ranks in all_ranks(config).items():
            if all(rank < of_type[letter] for letter, rank in ranks):
                total = sum_of([here[letter][:, rank] for letter, rank in ranks])
                filled = hist.Hist.new.Reg(grid.n_bins, 0, grid.n_bins * grid.width).Int64()
                found[f"{name}/{combination}"] = filled.fill(ak.to_numpy(total.mass))
    return found


def sum_of(momenta: Sequence[ak.Array]) -> ak.Array:
    """Return the sum of four-momenta, event by event."""
    total = momenta[0]
    for momentum in momenta[1:]:
        total = total + momentum
    return total


def pipeline_counts(run: Run) -> dict[str, np.ndarray]:
    """Return the counts of the pipeline's spectra per channel, in the same bins."""
    grid = Grid.of(run.config.post_processing_task_config)
    spectra = sum_spectra(run.paths.masses, [run.reports[MASSES]], grid)[Sample.DATA]
    return {name: spectra.dense(i, grid)[:-1] for i, name in enumerate(spectra.channels)}


def n_moved(ours: Mapping[str, np.ndarray], theirs: Mapping[str, hist.Hist]) -> int:
    """Return how many masses lie in different bins; the channels must be the same.

    Masses are stored as float32 and theirs are not: one beside an edge may fall to the other side.
    """
    assert ours.keys() == theirs.keys()
    moved = 0
    for name, counts in ours.items():
        values = theirs[name].values()
        assert counts.sum() == values.sum(), name
        moved += int(np.abs(counts - values).sum()) // 2
    return moved


def measure(setting: Setting) -> Result:
    """Return how much longer the alternative takes than parsing and masses."""
    n_events = setting.size(EVENTS)
    paths = make_sample(setting.samples, n_events)
    ours, theirs = [], []
    moved = n_channels = 0
    for _ in range(min(3, setting.repeat)):
        run = new_run(paths, setting.new_folder(), n_events // RAREST)
        ours.append(sum(run.seconds(setting.clock, (FETCHING, PARSING, MASSES)).values()))
        made: dict[str, hist.Hist] = {}
        theirs.append(
            seconds_of(
                lambda made=made, run=run: made.update(histograms(paths, run.config)), setting.clock
            )
        )
        counts = pipeline_counts(run)
        n_channels, moved = len(counts), n_moved(counts, made)
    row = Row(
        "awkward + vector + hist against parsing + masses",
        Spread.of(divided(theirs, ours)),
        "times",
        at_least(5),
    )
    return Result((row,), {"ours": ours, "theirs": theirs, "channels": n_channels, "moved": moved})
