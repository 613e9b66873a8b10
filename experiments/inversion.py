"""Inversion: faces recovered from classifiers and embeddings, judged by recognisers that were not attacked."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from experiments.calibrate import add_to, calibrated
from experiments.cloaking_training import other_people
from experiments.inversion_judge import Attacked, Judge, fid_to
from experiments.inversion_kept import Kept
from experiments.inversion_plan import Answer, Attack, Design, EmbeddingDefence, Hardening, Plan, level, uses
from experiments.inversion_victims import VictimPlan
from experiments.watermark_defences import fail
from facesec_bench.access import ClassifierAccess, EmbeddingAccess
from facesec_bench.closed_set_training import right
from facesec_bench.data import Dataset
from facesec_bench.data.detection import YuNet
from facesec_bench.errors import DataError, FacesecError
from facesec_bench.interfaces import FRTarget
from facesec_bench.metrics.scores import summarise
from facesec_bench.progress import track
from facesec_bench.protocols import inversion as protocol
from facesec_bench.protocols.calibration import CalibrationStore
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.protocols.inversion import Encoder
from facesec_bench.records import Outcome, Record
from facesec_bench.runs import Run
from facesec_bench.search import borrowed
from facesec_bench.seeds import derive, generator
from facesec_bench.targets.closed_set import ClosedSet

AT_ONCE = 16


def inversion(
    run: Run,
    dataset: Dataset,
    targets: dict[str, FRTarget],
    inversion: Mapping[str, Attack] | None = None,
    victim: Mapping[str, VictimPlan] | None = None,
    hardening: Mapping[str, Hardening] | None = None,
    answer: Mapping[str, Answer] | None = None,
    embedding_defence: Mapping[str, EmbeddingDefence] | None = None,
    *,
    public: Callable[[], Dataset],
    detector: YuNet,
    design: Design,
    store: CalibrationStore,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
    inception: Callable[[Tensor], Tensor] | None = None,
) -> Outcome:
    """Run the study; the data set is private, and all its pairs calibrate.

    Args:
        public: photos of other people, which attackers and victims may learn from.
        detector: tells faces from pictures that are none.
        inception: (B, 3, H, W) -> (B, 2048) features for FID; None where the user has no weights.

    Raises:
        ConfigError: a design that cannot be; see the message.
        DataError: too few private people, public photos of private people, or a victim or evaluator that does not know
            its people.
    """
    plan = Plan(design, inversion or {}, victim or {}, hardening or {}, answer or {}, embedding_defence or {})
    plan.check(targets)
    others = other_people(public(), dataset, setting="study.public")
    study = _Study(run, dataset, targets, plan, others, detector, store, device, batch_size, inception)
    return study()


def _at(network: Callable[[Tensor], Tensor], device: torch.device | str) -> Callable[[Tensor], Tensor]:
    return network.to(device) if isinstance(network, torch.nn.Module) else network


class _Study:
    """The parts in order; each fills `outcome`."""

    def __init__(
        self,
        run: Run,
        dataset: Dataset,
        targets: dict[str, FRTarget],
        plan: Plan,
        public: Dataset,
        detector: YuNet,
        store: CalibrationStore,
        device: torch.device | str,
        batch_size: int,
        inception: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.run, self.targets, self.plan, self.public = run, dict(targets), plan, public
        self.dataset, self.store, self.device, self.batch_size = dataset, store, device, batch_size
        self.design, self.outcome = plan.design, Outcome()
        self.private = protocol.divide(
            dataset.faces,
            people=self.design.people,
            held=self.design.held,
            seed=run.seed,
            kept=dataset.held,
        )
        wanted = self.design.people
        print(
            f"inversion: {self.private.classes} people are attacked"
            + (f", {wanted} were wanted" if wanted is not None and self.private.classes < wanted else ""),
            file=sys.stderr,
        )
        if self.private.shortfall:
            run.note(self.private.shortfall)
        self.encoders: dict[str, Encoder] = {}
        self.judge = Judge(
            self.private,
            public.faces.images,
            self.targets,
            self.encoders,
            detector,
            self.design.plausible,
            self.design.samples,
            run.seed,
            device,
            batch_size,
            Kept(run),
            None if inception is None else fid_to(self.private, _at(inception, device), device, batch_size),
        )

    def __call__(self) -> Outcome:
        with self.run.stage("calibrate"):
            for target in list(self.targets.values()):
                self._encoder(target)
            self._evaluators_know()
        with self.run.stage("teach"):
            taught = self._all_taught()
            defended = self._hardened(taught)
        self._describe(taught)
        with self.run.stage("attack"):
            for job in track(self._jobs(taught, defended), "inversion", alike=False):
                self._attack(*job)
        self.outcome.strips += self.judge.strips(self.run.folder, self.design.examples)
        self.outcome.scores |= summarise(self.outcome.records, self.run.seed)
        self.judge.kept.clear()
        return self.outcome

    def _encoder(self, target: FRTarget) -> None:
        """Calibrate a recogniser and let it see the private photos."""
        found = calibrated(
            self.run,
            target,
            self.dataset,
            sorted({*self.design.fars, self.design.far}, reverse=True),
            store=self.store,
            device=self.device,
            batch_size=self.batch_size,
        )
        add_to(self.outcome, found)
        thresholds = {p["far"]: float(p["threshold"]) for p in found.points if p["status"] == "calibrated"}
        taught, held = (
            embed_all(target, part.images, device=self.device, batch_size=self.batch_size)
            for part in (self.private.taught, self.private.held)
        )
        self.encoders[target.name] = Encoder(target.name, taught, held, thresholds)
        knows = protocol.named(held, self.encoders[target.name].templates(self.private), self.private.held.identities)
        self._held_accuracy(target.name, knows, "evaluator_accuracy")

    def _held_accuracy(self, name: str, knows: Tensor, measure: str) -> float:
        held = self.private.held
        self.outcome.records += [
            Record(key, held.names[person], "clean", name, measure, float(value))
            for key, person, value in zip(held.keys, held.identities.tolist(), knows.tolist(), strict=True)
        ]
        return float(knows.float().mean())

    def _evaluators_know(self) -> None:
        """Refuse an evaluator that does not know the private people itself."""
        for name in self.design.evaluators:
            rows = [r.value for r in self.outcome.records if (r.target, r.measure) == (name, "evaluator_accuracy")]
            self._check(f"the evaluator {name}", sum(rows) / len(rows), self.design.least_evaluator, "least_evaluator")

    def _check(self, who: str, found: float, least: float, key: str) -> None:
        if found < least:
            raise DataError(
                f"Found {who} right on {100 * found:.0f}% of the held photos, wanted at least {100 * least:.0f}%: what "
                f"is recovered from a model that does not know its people says nothing. Give it more photos, another "
                f"network or training, or lower study.design.{key} and say so."
            )

    def _build(self, name: str, plan: VictimPlan) -> ClosedSet:
        seed = derive(self.run.seed, "victim", name) % 2**31
        network = plan.build(name, self.targets, self.private.classes, self.public.faces, seed)
        return network.to(self.device)

    def _all_taught(self) -> dict[str, ClosedSet]:
        """The victims that know their people; the others are told as failed.

        Raises:
            DataError: none does, and no embedding is attacked either.
        """
        found, why = {}, ""
        for name, plan in track(self.plan.victims.items(), "teaching victims", alike=False):
            try:
                found[name] = self._taught(name, plan)
            except DataError as error:
                why = str(error)
                fail(self.run, f"{name}: {error}")
        if why and not found and not self.design.recover:
            raise DataError(why)
        return found

    def _taught(self, name: str, plan: VictimPlan) -> ClosedSet:
        network = self._build(name, plan)
        plan.taught(network, self.private.taught, generator(self.run.seed, "teach", name))
        known = self._held_accuracy(name, right(network, self.private.held), "victim_accuracy")
        self._check(f"the victim {name}", known, self.design.least_victim, "least_victim")
        return network.requires_grad_(False).eval()

    def _hardened(self, taught: Mapping[str, ClosedSet]) -> dict[str, tuple[str, ClosedSet]]:
        """Name of the defended network -> (victim it was, network). Its accuracy is told, not asked for."""
        found: dict[str, tuple[str, ClosedSet]] = {}
        # A victim that is not taught was told of already.
        pairs = [(name, defence) for name in self.design.harden if name in taught for defence in self.plan.hardening]
        for name, defence in track(pairs, "teaching defended victims", alike=False):
            plan, harden = self.plan.victims[name], self.plan.hardening[defence]
            rng = generator(self.run.seed, "harden", name, defence)
            try:
                network = harden(self._build(name, plan), self.private.taught, plan.schooling, rng)
            except FacesecError as error:
                fail(self.run, f"{defence} on {name}: {error}")
                continue
            network.requires_grad_(False).eval()
            network.name = f"{name}_{defence}"
            self._held_accuracy(network.name, right(network, self.private.held), "victim_accuracy")
            found[network.name] = name, network
            about = {"victim": name, "defence": defence, "title": getattr(type(harden), "__doc__", "")}
            spent = {key: float(getattr(network, key)) for key in ("epsilon", "delta") if hasattr(network, key)}
            self.run.card.data.setdefault("defended", {})[network.name] = about | spent
        return found

    def _jobs(
        self, taught: Mapping[str, ClosedSet], defended: Mapping[str, tuple[str, ClosedSet]]
    ) -> list[tuple[str, Attack, Attacked]]:
        classifiers, jobs = self.plan.of("classifier"), []
        for name, network in taught.items():
            jobs += [(method, attack, self._classifier(name, name, network)) for method, attack in classifiers.items()]
        for name, (origin, network) in defended.items():
            victim = self._classifier(name, origin, network)
            jobs += [(method, attack, victim) for method, attack in self.plan.on_hardened().items()]
        for origin in (name for name in self.design.filter if name in taught):
            for answer_name, answer in self.plan.answers.items():
                name = f"{origin}_{answer_name}"
                victim = self._classifier(name, origin, taught[origin], answer)
                self.run.card.data.setdefault("defended", {})[name] = {"victim": origin, "defence": answer_name}
                self._held_accuracy(name, self._behind(taught[origin], answer), "victim_accuracy")
                # White boxes have the weights and pass by the filter.
                jobs += [
                    (m, attack, victim) for m, attack in classifiers.items() if level(attack, "classifier") != "white"
                ]
        for name in self.design.recover:
            jobs += self._recoveries(name, self.targets[name], name)
            for defence_name, defend in self.plan.embedding_defences.items():
                target = self._defended(name, defence_name, defend)
                if target is None:
                    continue
                about = {"victim": name, "defence": defence_name}
                self.run.card.data.setdefault("defended", {})[target.name] = about
                jobs += self._recoveries(target.name, target, name)
        return jobs

    def _defended(self, name: str, defence: str, defend: EmbeddingDefence) -> FRTarget | None:
        """A recogniser behind a defence, calibrated anew; None where it could not be made."""
        rng = generator(self.run.seed, "embedding defence", name, defence)
        try:
            target = defend(copy.deepcopy(self.targets[name]), self.public.faces.images, rng)
        except FacesecError as error:
            fail(self.run, f"{defence} on {name}: {error}")
            return None
        target.name = f"{name}_{defence}"
        self.targets[target.name] = target
        self._encoder(target)
        return target

    def _behind(self, network: ClosedSet, answer: Answer) -> Tensor:
        """(N,) bool: which held photos a classifier still names where a filter stands before it."""
        access, held = ClassifierAccess(network, "hard_label", answer=answer), self.private.held
        parts = [access.labels(few.to(self.device)).cpu() for few in held.images.split(AT_ONCE)]
        return torch.cat(parts) == held.identities

    def _recoveries(self, name: str, target: FRTarget, origin: str) -> list[tuple[str, Attack, Attacked]]:
        enrolled = self.encoders[name].templates(self.private).to(self.device)

        def access(attack: Attack) -> EmbeddingAccess:
            return EmbeddingAccess(target, level(attack, "embedding"), enrolled, self.design.most)  # type: ignore[arg-type]

        victim = Attacked(name, self.plan.evaluator(origin, name, "embedding"), access, own=name)
        return [(method, attack, victim) for method, attack in self.plan.of("embedding").items()]

    def _classifier(self, name: str, origin: str, network: ClosedSet, answer: Answer | None = None) -> Attacked:
        def access(attack: Attack) -> ClassifierAccess:
            return ClassifierAccess(network, level(attack, "classifier"), self.design.most, answer)  # type: ignore[arg-type]

        def confidence(chips: Tensor, people: Tensor) -> Tensor:
            with torch.no_grad():
                parts = [network(few.to(self.device)).softmax(1).cpu() for few in chips.split(AT_ONCE)]
            return torch.cat(parts)[torch.arange(len(people)), people]

        recogniser = self.plan.victims[origin].recogniser
        return Attacked(name, self.plan.evaluator(recogniser, name, "classifier"), access, confidence)

    def _attack(self, method: str, attack: Attack, victim: Attacked) -> None:
        network = self.targets.get(victim.name)
        try:
            with borrowed(network):
                part = self.judge(method, attack, victim)
        except FacesecError as error:
            # One attack that cannot run must not cost the others; the report says which and why.
            fail(self.run, f"{method} on {victim.name}: {error}")
            return
        self.outcome.records += part.records
        self.outcome.scores |= part.scores

    def _methods(self) -> set[str]:
        """What the card tells of; the controls of evasion are none of this study's."""
        plan = self.plan
        return {*plan.attacks, *plan.victims, *plan.hardening, *plan.answers, *plan.embedding_defences}

    def _describe(self, taught: Mapping[str, ClosedSet]) -> None:
        """What a reader of a number must know, on the card."""
        card, private = self.run.card, self.private
        card.methods = {name: about for name, about in card.methods.items() if name in self._methods()}
        for name, attack in self.plan.attacks.items():
            card.methods.setdefault(name, {"title": name}).update(access=attack.level, uses=list(uses(attack)))
        # What draws private faces is also what most attacks paint with, whatever the public photos are.
        same = self.dataset.drawn is not None
        card.data["inversion"] = {
            "people": private.classes,
            "taught": len(private.taught),
            "held": len(private.held),
            "samples": self.design.samples,
            "public": self.public.name,
            "public_digest": self.public.digest,
            "public_photos": len(self.public.faces),
            "one_generator": same,
            "aggregation": protocol.AGGREGATION,
            "plausible": self.design.plausible,
            "private_faces": self.judge.private_faces(),
            "evaluators": {
                name: self.plan.evaluator(plan.recogniser, name, "classifier")
                for name, plan in self.plan.victims.items()
            }
            | {name: self.plan.evaluator(name, name, "embedding") for name in self.design.recover},
        }
        card.threat_model += [
            "The attacker wants to see people whom a recogniser knows: it has the access that each attack names, "
            "photos of other people, and no photo of theirs.",
            "A recovery is judged by a recogniser that was not attacked, which knows the private people.",
        ]
        if same:
            self.run.note(
                "The private faces are drawn by a generator that attackers may paint with: what is recovered is an "
                "upper bound on what an attacker without that generator would get."
            )
