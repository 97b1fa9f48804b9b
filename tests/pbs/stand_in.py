"""A stand-in for a PBS server: what `submit.sh` meets at a real one, as far as it matters to it.

Run as `stand_in.py COMMAND ARGUMENTS...` it is qsub, qrls or qdel; the state is a folder that the
variable PBS_STAND_IN names. Jobs run when a test calls `run_all`. As OpenPBS was seen to do:

- ids have the server's name, those of arrays brackets; an array of one job is refused;
- a job begins in the home directory with a bare environment, and its script is a copy elsewhere;
- with `-j oe -o DIR/` the output is DIR/ID.OU, with brackets and all, and only after the end;
- finished jobs are forgotten: what depends on one that has ended, or never was, is deleted without
  a word, and so is all that depends on that;
- an array's exit status is that of the subjob that ended last;
- a qdel of a known job and an unknown one kills the server.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SERVER = "pbshost"
QUEUES = ("workq", "long")
KILLED = 137
_FOLDER = "PBS_STAND_IN"


class RefusedError(Exception):
    """What a command prints, and its exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Server:
    """The jobs of a server, kept in a folder between the calls of its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "state.json"
        if not self._file.exists():
            (folder / "spool").mkdir(parents=True)
            self.jobs: dict[str, dict[str, Any]] = {}
            self.log: list[str] = []
            self.settings: dict[str, Any] = {"max_queued": 100, "crashed": False}
            self.save()
        state = json.loads(self._file.read_text())
        self.jobs, self.log, self.settings = state["jobs"], state["log"], state["settings"]

    def save(self) -> None:
        """Keep the state."""
        state = {"jobs": self.jobs, "log": self.log, "settings": self.settings}
        self._file.write_text(json.dumps(state, indent=1))

    def named(self, name: str) -> list[dict[str, Any]]:
        """Return the jobs of a name, in the order of submission."""
        return [job for job in self.jobs.values() if job["name"] == name]

    # Commands

    def command(self, name: str) -> Callable[[list[str]], str | None]:
        """Return one of the commands, if there is still a server."""
        if self.settings["crashed"]:
            raise RefusedError(255, f"{name}: cannot connect to server {SERVER} (errno=15010)")
        found: Callable[[list[str]], str | None] = getattr(self, name)
        return found

    def qsub(self, arguments: list[str]) -> str:
        """Take a job and return its id."""
        options, operands = _parse("hW:J:N:o:j:l:q:", arguments)
        if len(operands) != 1:
            raise RefusedError(2, "usage: qsub [options] script")
        script = Path(operands[0])
        if not script.exists():
            raise RefusedError(1, "qsub: script file:: No such file or directory")
        text = script.read_text()
        if "\r" in text:
            raise RefusedError(1, "qsub: script contains cr, lf")
        given = [*_directives(text), *options]
        job = _job(given)
        n_subjobs = len(job["indices"] or [1])
        n_queued = sum(len(other["indices"] or [1]) for other in self.jobs.values())
        if n_queued + n_subjobs > self.settings["max_queued"]:
            raise RefusedError(38, "qsub: would exceed complex's per-user limit")
        number = 100 + len(self.jobs)
        job["id"] = f"{number}{'[]' if job['indices'] else ''}.{SERVER}"
        spooled = self.folder / "spool" / f"{number}.SC"
        shutil.copy(script, spooled)
        spooled.chmod(0o700)
        job |= {"script": str(spooled), "workdir": str(Path.cwd()), "state": "Q"}
        self.jobs[job["id"]] = job
        self._settle()
        if job["state"] == "Q" and not job["depends"] and not job["held"]:
            # A real server begins at once, so that a short job is over before the next command.
            self._run(job)
        return str(job["id"])

    def qrls(self, arguments: list[str]) -> None:
        """Take a user's hold from a job."""
        for name in arguments:
            self._known("qrls", name)["held"] = False

    def qdel(self, arguments: list[str]) -> None:
        """Remove jobs."""
        known = [name in self.jobs for name in arguments]
        if len(arguments) > 1 and known[0] and not all(known):
            self.settings["crashed"] = True
            raise RefusedError(255, f"qdel: cannot connect to server {SERVER} (errno=15010)")
        for name in arguments:
            job = self._known("qdel", name)
            if job["state"] != "Q":
                raise RefusedError(35, f"qdel: Job has finished {name}")
            job["state"] = "removed"
            self._settle()

    def _known(self, command: str, name: str) -> dict[str, Any]:
        if name not in self.jobs:
            raise RefusedError(153, f"{command}: Unknown Job Id {name}")
        return self.jobs[name]

    # What the server does

    def run_all(self, *, fails: dict[str, list[int]] | None = None, seed: int = 1) -> None:
        """Run what can be run, one job after another; the subjobs of an array in random order.

        `fails` names, by job name, the indices that are killed as they begin.
        """
        while True:
            ready = [
                job
                for job in self.jobs.values()
                if job["state"] == "Q" and not job["held"] and self._may_run(job)
            ]
            if not ready:
                return
            self._run(ready[0], (fails or {}).get(ready[0]["name"], []), seed)

    def _may_run(self, job: dict[str, Any]) -> bool:
        return all(self.jobs[parent]["state"] == "F" for _, parent in job["depends"])

    def _settle(self) -> None:
        """Delete what depends on a job that is not there, or that did not end as is asked for."""
        for job in self.jobs.values():
            for kind, parent in job["depends"]:
                state = self.jobs[parent]["state"] if parent in self.jobs else "unknown"
                is_late = state == "F" and not job.get("seen_parent_waiting")
                status = self.jobs[parent].get("status") if state == "F" else 0
                is_unmet = (kind == "afterok" and status) or (kind == "afternotok" and not status)
                if (
                    state in ("unknown", "removed", "deleted")
                    or is_late
                    or (state == "F" and is_unmet)
                ):
                    if job["state"] == "Q":
                        job["state"] = "deleted"
                        self.log.append(f"{job['id']} deleted as result of dependency on {parent}")
                else:
                    job["seen_parent_waiting"] = True

    def _run(self, job: dict[str, Any], fails: list[int] | None = None, seed: int = 1) -> None:
        indices = list(job["indices"] or [None])
        random.Random(seed).shuffle(indices)
        for index in indices:
            job["status"] = self._run_one(job, index, is_killed=index in (fails or []))
            self.log.append(f"{job['id']} {index} ended with {job['status']}")
        job["state"] = "F"
        self._settle()
        self.save()

    def _run_one(self, job: dict[str, Any], index: int | None, *, is_killed: bool) -> int:
        number = job["id"].partition("[")[0].partition(".")[0]
        name = job["id"] if index is None else f"{number}[{index}].{SERVER}"
        home = self.folder / "home"
        scratch = self.folder / "tmp" / f"pbs.{name}"
        for folder in (home, scratch):
            folder.mkdir(parents=True, exist_ok=True)
        environment = {
            "HOME": str(home),
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/games",
            "SHELL": "/bin/bash",
            "LOGNAME": "user",
            "USER": "user",
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "ENVIRONMENT": "BATCH",
            "PBS_JOBID": name,
            "PBS_JOBNAME": job["name"],
            "PBS_O_WORKDIR": job["workdir"],
            "PBS_QUEUE": "workq",
            "TMPDIR": str(scratch),
            "NCPUS": "1",
            "OMP_NUM_THREADS": "1",
        }
        if index is not None:
            environment |= {"PBS_ARRAY_INDEX": str(index), "PBS_ARRAY_ID": job["id"]}
        output = self.folder / "spool" / "output"
        with output.open("wb") as file:
            running = subprocess.Popen(
                [job["script"]],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                umask=0o077,
            )
            if is_killed:
                time.sleep(0.2)
                running.kill()
            status = running.wait()
        shutil.rmtree(scratch)
        self._deliver(job, name, output)
        return KILLED if status < 0 else status

    def _deliver(self, job: dict[str, Any], name: str, output: Path) -> None:
        folder = Path(job["output"])
        if not job["joined"] or not job["output"].endswith("/") or not folder.is_dir():
            self.log.append(f"{name} output undelivered")
            return
        shutil.move(output, folder / f"{name}.OU")


def _parse(known: str, arguments: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    flags = {letter for letter, after in zip(known, [*known[1:], ""], strict=True) if after != ":"}
    with_value = {
        letter for letter, after in zip(known, [*known[1:], ""], strict=True) if after == ":"
    }
    options, rest = [], list(arguments)
    while rest and rest[0].startswith("-"):
        letter, value = rest[0][1:2], rest[0][2:]
        rest.pop(0)
        if letter in with_value:
            options.append((letter, value or rest.pop(0)))
        elif letter in flags - {":"} and not value:
            options.append((letter, ""))
        else:
            raise RefusedError(2, f"qsub: invalid option -- '{letter}'")
    return options, rest


def _directives(text: str) -> list[tuple[str, str]]:
    found = []
    for line in text.splitlines():
        if not line.startswith("#") and line.strip():
            break
        if line.startswith("#PBS"):
            letter, _, value = line.removeprefix("#PBS").strip().removeprefix("-").partition(" ")
            value = value.strip()
            if "#" in value or "$" in value or (letter != "l" and " " in value):
                raise RefusedError(1, f"qsub: directive error: -{letter} {value}")
            found.append((letter, value))
    return found


def _job(options: list[tuple[str, str]]) -> dict[str, Any]:  # noqa: C901 - one case per option
    job: dict[str, Any] = {
        "name": "STDIN",
        "held": False,
        "indices": None,
        "depends": [],
        "output": "",
        "joined": False,
    }
    resources: list[str] = []
    for letter, value in options:
        if letter == "h":
            job["held"] = True
        elif letter == "N":
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._+-]{0,14}", value):
                raise RefusedError(2, "qsub: illegal -N value")
            job["name"] = value
        elif letter == "J":
            job["indices"] = _indices(value)
        elif letter == "W":
            job["depends"] = _dependencies(value)
        elif letter == "o":
            job["output"] = value
        elif letter == "j":
            job["joined"] = value == "oe"
        elif letter == "l":
            resources.append(value)
        elif letter == "q" and value not in QUEUES:
            raise RefusedError(170, "qsub: Unknown queue")
    _check_resources(resources)
    return job


def _indices(value: str) -> list[int]:
    match = re.fullmatch(r"([0-9]+)-([0-9]+)(?::([0-9]+))?", value)
    if not match or int(match[2]) <= int(match[1]):
        raise RefusedError(2, "qsub: illegal -J value")
    return list(range(int(match[1]), int(match[2]) + 1, int(match[3] or 1)))


def _dependencies(value: str) -> list[list[str]]:
    found = []
    for part in value.removeprefix("depend=").split(","):
        kind, *parents = part.split(":")
        for parent in parents:
            if kind not in ("afterok", "afterany", "afternotok") or not re.fullmatch(
                rf"[0-9]+(\[\])?(\.{SERVER})?", parent
            ):
                raise RefusedError(2, "qsub: illegal -W value")
            found.append([kind, parent])
        if not parents:
            raise RefusedError(2, "qsub: illegal -W value")
    return found


def _check_resources(resources: list[str]) -> None:
    names = [resource.partition("=")[0] for resource in resources]
    for resource in resources:
        name, _, value = resource.partition("=")
        if name not in ("select", "walltime", "place", "ncpus", "mem", "software"):
            raise RefusedError(187, f"qsub: Unknown resource Resource_List.{name}")
        if "select" in names and name in ("ncpus", "mem"):
            raise RefusedError(5, f'qsub: "-lresource=" cannot be used with "select", {name}')
        if name == "walltime" and not re.fullmatch(r"[0-9]+(:[0-9]{1,2}){0,2}", value):
            text = "qsub: Illegal attribute or resource value Resource_List.walltime"
            raise RefusedError(166, text)
        if name == "select" and not re.fullmatch(r"[0-9]+:ncpus=[0-9]+:mem=[0-9]+[kmg]?b?", value):
            raise RefusedError(166, "qsub: Illegal attribute or resource value select")


def main() -> int:
    """Be one of the commands."""
    server = Server(Path(os.environ[_FOLDER]))
    command, *arguments = sys.argv[1:]
    server.log.append(" ".join([command, *arguments]))
    try:
        answer = server.command(command)(arguments)
    except RefusedError as error:
        sys.stderr.write(f"{error}\n")
        return error.code
    finally:
        server.save()
    if answer:
        sys.stdout.write(f"{answer}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
