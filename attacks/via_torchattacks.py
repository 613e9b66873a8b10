"""Any attack of torchattacks by name, on the gallery view of the surrogates (Kim, "Torchattacks", arXiv 2010.01950)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attacks.budget import ball
from attacks.library_guard import checked, named_errors, seeded_globally
from facesec_bench.errors import ConfigError, MissingPackageError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.search import borrowed
from facesec_bench.targets.gallery import GalleryClassifier


class TorchAttacks:
    """An attack of torchattacks: dodge is its untargeted mode, impersonate its targeted mode.

    The budget is stated here, never in `arguments`; a result outside it is an error. An attack that takes no `eps`
    (CW, DeepFool and other minimum-norm attacks) has no budget to keep: it runs only with both budgets null, and the
    result is bounded by [0, 1] alone.

    Args:
        name: the class in torchattacks, such as "PGD".
        arguments: its further constructor arguments.
        eps_255: L-inf budget in grey levels out of 255, in chip pixels.
        rms_255: L2 budget as a root mean square change in grey levels out of 255, for attacks measured in L2.
        step: step length as a share of the budget, passed as `alpha`; null leaves the library's.
        scale: logit scale of the gallery view.

    Raises:
        MissingPackageError: torchattacks is not installed.
        ConfigError: no such attack, an argument it does not take, a budget it cannot keep, a goal it does not support.
        TargetError: whatever else the library raises, named.
    """

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        eps_255: float | None = None,
        rms_255: float | None = None,
        step: float | None = None,
        scale: float = 16.0,
    ) -> None:
        self.name, self.arguments = name, dict(arguments or {})
        self.eps_255, self.rms_255, self.step, self.scale = eps_255, rms_255, step, scale
        for key in {"eps", "alpha"} & set(self.arguments):
            raise ConfigError(f"torchattacks {name}: state `{key}` as eps_255, rms_255 or step, not in `arguments`.")

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Perturbed chips (B, 3, H, W), see `interfaces.Evasion`."""
        kind = _attack_class(self.name)
        images = faces.images
        bounded = self.eps_255 is not None or self.rms_255 is not None
        space = ball(images, eps_255=self.eps_255, rms_255=self.rms_255) if bounded else None
        arguments = self._arguments(kind, space.radius if space else None)
        title = f"torchattacks {self.name}"
        with borrowed(*surrogates), seeded_globally(rng), named_errors(f"{title}, to {aim.kind}"):
            classifier = GalleryClassifier(surrogates, aim.gallery, self.scale).eval()
            attack = kind(classifier, **arguments)
            attack.set_device(images.device)
            if aim.kind == "impersonate":
                _aim_at_labels(attack, self.name)
            result = attack(images.clone(), classifier.columns(aim.labels))
        return checked(result, space, images, title)

    def _arguments(self, kind: type, radius: float | None) -> dict[str, Any]:
        takes = set(inspect.signature(kind.__init__).parameters) - {"self", "model"}
        arguments = dict(self.arguments)
        if radius is not None:
            arguments["eps"] = radius
        if self.step is not None:
            arguments["alpha"] = self.step * (radius or 1.0)
        if unknown := set(arguments) - takes:
            raise ConfigError(
                f"torchattacks {self.name} takes {sorted(takes)} and not {sorted(unknown)}. An attack without eps "
                "keeps no budget: set eps_255 and rms_255 to null."
            )
        if "eps" in takes and radius is None:
            raise ConfigError(f"torchattacks {self.name} takes a budget; state eps_255 or rms_255.")
        measured = _measured_in(kind)
        if (measured == "L2" and self.eps_255 is not None) or (measured == "Linf" and self.rms_255 is not None):
            raise ConfigError(
                f"torchattacks {self.name} is measured in {measured}: eps_255 is for Linf, rms_255 for L2."
            )
        return arguments


def _attack_class(name: str) -> type:
    try:
        import torchattacks
    except ImportError as error:
        raise MissingPackageError(
            "torchattacks is not installed. Install it with `pip install --no-deps torchattacks==3.5.1`: without "
            "--no-deps its pin requests~=2.25.1 cannot be met beside mlflow 3."
        ) from error
    kind = getattr(torchattacks, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, torchattacks.attack.Attack)):
        raise ConfigError(f"torchattacks has no attack {name!r}; the names are those of its documentation, as 'PGD'.")
    return kind


def _measured_in(kind: type) -> str | None:
    """The one norm that the class's documentation gives as its distance measure; its code does not say."""
    found = re.search(r"Distance Measure\s*:\s*(L2|Linf)\s*$", kind.__doc__ or "", flags=re.MULTILINE)
    return found.group(1) if found else None


def _aim_at_labels(attack: Any, name: str) -> None:
    try:
        attack.set_mode_targeted_by_label(quiet=True)
    except ValueError as error:
        raise ConfigError(f"torchattacks {name} cannot impersonate: it has no targeted mode.") from error
