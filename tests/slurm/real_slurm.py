"""A real Slurm for tests: one node, on the loopback device only, its files in a folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol", "scancel", "sinfo", "squeue")
_SBIN = "/usr/sbin:/sbin"
_PATIENCE = 30.0

_CONF = """
ClusterName=ci
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ctld_port}
SlurmdPort={d_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.txt
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=300
MaxArraySize=1001
NodeName={host} NodeAddr=127.0.0.1 NodeHostname={host} CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=workq Nodes={host} Default=YES MaxTime=INFINITE DefMemPerCPU=100 State=UP
"""


def why_not() -> str | None:
    """Return why no Slurm can be started here; None if it can."""
    path = f"{os.environ['PATH']}:{_SBIN}"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "the daemons of Slurm can only be started by root"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _daemon(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("ab") as file:
        running = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        yield
    finally:
        running.terminate()
        try:
            running.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def running_slurm(folder: Path) -> Iterator[Path]:
    """Yield the configuration of a Slurm that runs while the body does, for SLURM_CONF."""
    host = socket.gethostname().partition(".")[0]
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    conf = folder / "slurm.conf"
    text = _CONF.format(host=host, folder=folder, ctld_port=_free_port(), d_port=_free_port())
    conf.write_text(text)
    environment = os.environ | {
        "PATH": f"{os.environ['PATH']}:{_SBIN}",
        "SLURM_CONF": str(conf),
    }
    munged = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munged += [f"--socket={folder}/munge/socket", f"--pid-file={folder}/munge/pid"]
    munged += [f"--log-file={folder}/munge/log", f"--seed-file={folder}/munge/seed"]
    with ExitStack() as stack:
        stack.enter_context(_daemon(munged, environment, folder / "munged.out"))
        _wait_for((folder / "munge" / "socket").exists, folder)
        for program in ("slurmctld", "slurmd"):
            command = [program, "-D", "-f", str(conf)]
            stack.enter_context(_daemon(command, environment, folder / f"{program}.out"))
        _wait_for(lambda: "idle" in _output(["sinfo", "-h", "-o", "%T"], environment), folder)
        yield conf
        with suppress(subprocess.SubprocessError):
            _output(["scancel", "--user=root"], environment)


def _output(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=_PATIENCE
    )
    return done.stdout


def _wait_for(condition: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            said = "\n".join(path.read_text()[-1000:] for path in folder.glob("*.out"))
            said += "\n".join(path.read_text()[-1000:] for path in folder.glob("*.log"))
            msg = f"Slurm does not start: {said}"
            raise TimeoutError(msg)
        time.sleep(0.1)
