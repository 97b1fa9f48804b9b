"""The library: a run's channels, masses, four-vectors, spectra and reports as Python objects.

    import bumphunt

    run = bumphunt.open_run("output/atlas_opendata_20260131_120000")
    channel = run.channel("2e_0m_0j_0g/e0e1")
    masses = channel.masses()  # one NumPy array, in GeV

Nothing here changes a run. docs/library.md shows all of it.
"""

from bumphunt.channels import RunChannel
from bumphunt.runs import Run, open_run
from schemas.errors import BarrierError, ConfigError, DataError, PipelineError, StorageError
from schemas.plan import ChannelPlan, ResonanceTest

__all__ = [
    "BarrierError",
    "ChannelPlan",
    "ConfigError",
    "DataError",
    "PipelineError",
    "ResonanceTest",
    "Run",
    "RunChannel",
    "StorageError",
    "open_run",
]
