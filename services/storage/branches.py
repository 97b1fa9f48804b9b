"""Which branches of a file hold what is wanted of it, by its layout."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch

from schemas.config import MissingTrigger
from schemas.errors import DataError, did_you_mean
from schemas.particles import BY_KEY, MassSource, Particle
from schemas.releases import SLOT, Discriminant, Layout, Names, ObjectBranches


@dataclass(frozen=True)
class Extras:
    """What is read of a file beside identity and kinematics, because the selection needs it."""

    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Fields that cuts name, by the type's key."""
    isolated: frozenset[str] = frozenset()
    """Keys of the types with a cut on isolation."""
    btag: Discriminant | None = None
    """What jets are b-tagged with."""
    triggers: tuple[str, ...] = ()
    """Boolean branches of the trigger selection."""
    missing_trigger: MissingTrigger = "error"
    """Whether a trigger branch that is not there is an error, or has not fired."""
    certified: bool = False
    """Whether events are looked up in good-run lists, for which the luminosity block is needed."""


NO_EXTRAS = Extras()


@dataclass(frozen=True)
class ObjectColumns:
    """The branches of one type in a file; None where there is none, or none is needed."""

    pt: str
    eta: str
    phi: str
    mass: str | None
    energy: str | None
    only: str | None
    isolation: str | None
    fields: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        kinematics = (self.pt, self.eta, self.phi, self.mass, self.energy, self.only)
        return tuple(n for n in (*kinematics, self.isolation, *self.fields.values()) if n)


@dataclass(frozen=True)
class BTagColumns:
    """The branches that a b-tag discriminant is made of."""

    stored: tuple[str, ...]
    link: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.stored, *((self.link,) if self.link else ()))


class FileBranches:
    """The branches of one tree that are read, found by their names.

    Raises:
        DataError: something that is needed is not there.
    """

    def __init__(
        self,
        where: str,
        branches: Collection[str],
        layout: Layout,
        needed: Collection[str],
        extras: Extras = NO_EXTRAS,
    ) -> None:
        self._where = where
        self._there = frozenset(branches)
        self._layout = layout
        self._extras = extras
        self._notes: list[str] = []
        self.identity = self._find_identity()
        """Branches of run, lumi and event; None where the file has no luminosity block."""
        self.objects = {key: self._find_objects(BY_KEY[key], needed) for key in layout.objects}
        """Branches per type, by its key; None for a type that is not in the file."""
        self.btag = self._find_btag(extras.btag) if extras.btag else None
        """Branches of the b-tag discriminant, if jets are tagged."""
        self.triggers = self._find_triggers()
        """Branches of the trigger selection; None for one that counts as not fired."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the result should know about this file's content."""
        return tuple(self._notes)

    @property
    def names(self) -> tuple[str, ...]:
        """All branches to read, each once."""
        names = [*self.identity.values(), *self.triggers.values()]
        names += [name for columns in self.objects.values() if columns for name in columns.names]
        names += self.btag.names if self.btag else ()
        return tuple(name for name in dict.fromkeys(names) if name)

    def _find(self, names: Names) -> str | None:
        return self._layout.find(names, self._there)

    def _require(self, names: Names, what: str) -> str:
        name = self._find(names)
        if name is None:
            msg = (
                f"{self._where}: expected the branch {' or '.join(names)} ({what}), found none; "
                "is this the right data layout? --inspect FILE says which one fits"
            )
            raise DataError(msg)
        return name

    def _find_identity(self) -> dict[str, str | None]:
        identity = self._layout.event_id
        lumi = self._find(identity.lumi) if identity.lumi else None
        if self._extras.certified and lumi is None:
            known = " or ".join(identity.lumi or ("none in this layout",))
            msg = (
                f"{self._where}: good_run_lists need the luminosity block (branch: {known}), which "
                "is not there; leave out good_run_lists for this input, for example under "
                "selection_by_release"
            )
            raise DataError(msg)
        return {
            "run": self._require(identity.run, "the run number"),
            "lumi": lumi,
            "event": self._require(identity.event, "the event number"),
        }

    def _find_objects(self, particle: Particle, needed: Collection[str]) -> ObjectColumns | None:
        branches = self._layout.objects[particle.key]
        fields = self._extras.fields.get(particle.key, ())
        isolated = particle.key in self._extras.isolated
        is_wanted = particle.name in needed or bool(fields) or isolated
        if not is_wanted and not any(
            self._find(names) for names in (branches.pt, branches.eta, branches.phi)
        ):
            self._notes.append(f"{particle.name}: not in the file, counted as 0")
            return None
        found = {
            quantity: self._require(getattr(branches, quantity), f"{quantity} of {particle.name}")
            for quantity in ("pt", "eta", "phi")
        }
        only = None
        if branches.only:
            only = self._require(branches.only.branch, f"what tells {particle.name} from others")
        mass, energy = self._find_mass(particle, branches)
        return ObjectColumns(
            **found,
            mass=mass,
            energy=energy,
            only=only,
            isolation=self._find_isolation(particle, branches) if isolated else None,
            fields={name: self._find_field(particle, branches, name) for name in fields},
        )

    def _find_mass(
        self, particle: Particle, branches: ObjectBranches
    ) -> tuple[str | None, str | None]:
        """Return the branches of mass and energy of a type; at most one is not None."""
        if particle.mass_source is not MassSource.STORED:
            return None, None
        mass = self._find(branches.mass) if branches.mass else None
        energy = self._find(branches.energy) if branches.energy and not mass else None
        if energy:
            self._notes.append(f"{particle.name}: mass computed from {energy}")
        elif not mass:
            self._notes.append(f"{particle.name}: no mass stored, {particle.mass_gev} GeV used")
        return mass, energy

    def _find_field(self, particle: Particle, branches: ObjectBranches, name: str) -> str:
        candidates = branches.branches_of(name)
        found = self._find(candidates)
        if found is None:
            what = f"no branch {' or '.join(candidates)}" if candidates else "no fields to cut on"
            msg = (
                f"{self._where}: {particle.name}: kinematic_cuts.{particle.key} names the field "
                f"{name}, but there is {what}; choose one that is there (`python main.py "
                "--inspect FILE` lists them)"
            )
            raise DataError(msg)
        own = tuple(template.replace(SLOT, name) for template in branches.field)
        if self._find(own) is None:
            self._notes.append(f"{particle.name}: {found} read for {name}")
        return found

    def _find_isolation(self, particle: Particle, branches: ObjectBranches) -> str:
        fields = branches.isolation.field if branches.isolation else ()
        candidates = tuple(branch for name in fields for branch in branches.branches_of(name))
        found = self._find(candidates)
        if found is None:
            known = " or ".join(candidates) or "none in this layout"
            msg = (
                f"{self._where}: {particle.name}: rel_isolation_max needs the isolation (branch: "
                f"{known}), which is not there; cut on another field with field_max"
            )
            raise DataError(msg)
        return found

    def _find_btag(self, btag: Discriminant) -> BTagColumns:
        what = "b-tagging of Jets"
        if self.objects.get("jets") is None:
            msg = f"{self._where}: enable_jet_tagging needs Jets, which are not there; set it false"
            raise DataError(msg)
        return BTagColumns(
            stored=tuple(self._require(names, what) for names in btag.stored),
            link=self._require(btag.link, f"{what}: link") if btag.link else None,
        )

    def _find_triggers(self) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for name in self._extras.triggers:
            found[name] = self._find((name,))
            if found[name] is not None:
                continue
            if self._extras.missing_trigger == "error":
                patterns = self._layout.triggers
                known = sorted(b for b in self._there if any(fnmatch(b, p) for p in patterns))
                msg = (
                    f"{self._where}: expected the trigger branch {name}, found none"
                    f"{did_you_mean(name, known[:_NAMED_TRIGGERS]) if known else ''}; correct "
                    "`trigger`, or set missing_trigger: reject, where one that is missing has not "
                    "fired"
                )
                raise DataError(msg)
            self._notes.append(f"trigger {name}: not in the file, counted as not fired")
        return found


# How many trigger branches an error names; files have hundreds.
_NAMED_TRIGGERS = 20
