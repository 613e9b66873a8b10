"""Any attack of Foolbox by name, on the gallery view of the surrogates (Rauber et al., "Foolbox Native", JOSS 2020)."""

from __future__ import annotations

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


class Foolbox:
    """An attack of Foolbox: dodge is misclassification, impersonate targeted misclassification.

    With a budget, Foolbox runs a fixed-budget attack in it and clips a minimum-norm attack (DeepFool, FMN, CW) to it;
    a result outside is an error. Without one, a minimum-norm attack stops at the decision boundary of the gallery
    view, bounded by [0, 1] alone: enough to leave the closed set's true class, seldom enough for a verifier.

    Args:
        name: the class in foolbox.attacks, such as "LinfPGD".
        arguments: its constructor arguments.
        eps_255: L-inf budget in grey levels out of 255, in chip pixels.
        rms_255: L2 budget as a root mean square change in grey levels out of 255.
        scale: logit scale of the gallery view.

    Raises:
        MissingPackageError: foolbox is not installed.
        ConfigError: no such attack, an argument it does not take, a budget in another norm.
        TargetError: whatever the library raises, named; a goal it does not support is a ValueError of its own.
    """

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        eps_255: float | None = None,
        rms_255: float | None = None,
        scale: float = 16.0,
    ) -> None:
        self.name, self.arguments = name, dict(arguments or {})
        self.eps_255, self.rms_255, self.scale = eps_255, rms_255, scale

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Perturbed chips (B, 3, H, W), see `interfaces.Evasion`."""
        foolbox = _foolbox()
        attack = self._attack(foolbox)
        images = faces.images
        bounded = self.eps_255 is not None or self.rms_255 is not None
        space = ball(images, eps_255=self.eps_255, rms_255=self.rms_255) if bounded else None
        title = f"foolbox {self.name}"
        with borrowed(*surrogates), seeded_globally(rng), named_errors(f"{title}, to {aim.kind}"):
            classifier = GalleryClassifier(surrogates, aim.gallery, self.scale).eval()
            columns = classifier.columns(aim.labels)
            dodge = aim.kind == "dodge"
            criteria = foolbox.criteria
            criterion = criteria.Misclassification(columns) if dodge else criteria.TargetedMisclassification(columns)
            model = foolbox.PyTorchModel(classifier, bounds=(0, 1), device=images.device)
            _, result, _ = attack(model, images.clone(), criterion, epsilons=space.radius if space else None)
        return checked(result, space, images, title)

    def _attack(self, foolbox: Any) -> Any:
        kind = getattr(foolbox.attacks, self.name, None)
        if not (isinstance(kind, type) and issubclass(kind, foolbox.attacks.base.Attack)):
            raise ConfigError(f"foolbox.attacks has no {self.name!r}; the names are those of its documentation.")
        try:
            attack = kind(**self.arguments)
        except TypeError as error:
            raise ConfigError(f"foolbox {self.name} does not take these arguments: {error}") from error
        self._check_norm(attack, foolbox)
        return attack

    def _check_norm(self, attack: Any, foolbox: Any) -> None:
        try:
            distance = attack.distance
        except ValueError:  # an attack without a distance of its own takes whatever norm it is given
            return
        wrong = (self.eps_255 is not None and distance is not foolbox.distances.linf) or (
            self.rms_255 is not None and distance is not foolbox.distances.l2
        )
        if wrong:
            raise ConfigError(f"foolbox {self.name} is measured in {distance}: eps_255 is for linf, rms_255 for l2.")
        if (
            self.eps_255 is None
            and self.rms_255 is None
            and isinstance(attack, foolbox.attacks.base.FixedEpsilonAttack)
        ):
            raise ConfigError(f"foolbox {self.name} takes a budget; state eps_255 or rms_255.")


def _foolbox() -> Any:
    try:
        import foolbox
    except ImportError as error:
        raise MissingPackageError("foolbox is not installed; install it with `pip install foolbox`.") from error
    return foolbox
