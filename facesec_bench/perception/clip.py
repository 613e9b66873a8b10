"""Guidance by words: how far an image has moved the way a text says, as CLIP sees it.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, through the package
open_clip, an extra, with the user's own weights: nothing is downloaded. The losses work on embeddings and need neither.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.asset_download import sha256
from facesec_bench.errors import AssetError, ConfigError, MissingPackageError
from facesec_bench.perception.perspective import random_perspective

TEMPLATES = (
    "a photo of {}",
    "a portrait of {}",
    "a close-up photo of {}",
    "a bright photo of {}",
    "a dark photo of {}",
    "a slightly blurred photo of {}",
    "a sharp photo of {}",
    "a cropped photo of {}",
    "a passport photo of {}",
    "a frontal view of {}",
    "a selfie showing {}",
    "{} in the middle of a picture",
)
"""Our own wordings; the mean over several is steadier than one."""
FLOOR = 0.01
"""Least length by which a direction between unit embeddings is divided. An image that has not moved has a direction of
length 0, so that the gradient of a true cosine would be infinite there."""
TAG = "openai"
"""Whose weights are looked for in the cache of the hub's client, when no file is named."""


class Encoder(Protocol):
    """What guidance needs: images and texts in one space of unit vectors."""

    def image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, D) unit vectors, differentiable."""
        ...

    def text(self, texts: Sequence[str]) -> Tensor:
        """N texts -> (N, D) unit vectors."""
        ...


def _package(name: str = "open_clip") -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"CLIP needs the package open_clip, and {name} cannot be imported ({error}); "
            "run: pip install open-clip-torch (the extra clip of this project)"
        ) from error


class CLIP(nn.Module):
    """CLIP's two encoders.

    Args:
        model: an architecture of open_clip with its own tokenizer.
        weights: a state dict of it, .safetensors or a torch file that `weights_only=True` can read; None takes the
            weights `openai` from the cache of huggingface_hub, if they are there.
        quick_gelu: the activation of OpenAI's weights; most others need False. A file does not tell.

    Raises:
        MissingPackageError: open_clip is not installed.
        ConfigError: an unknown architecture, or one whose tokenizer would be downloaded.
        AssetError: no weights, or weights that do not fit.
    """

    def __init__(self, model: str = "ViT-B-32", weights: str | None = None, quick_gelu: bool = True) -> None:
        super().__init__()
        package = _package()
        config = package.get_model_config(model)
        if config is None or "hf_tokenizer_name" in config["text_cfg"] or "siglip" in model.lower():
            raise ConfigError(f"CLIP: found model {model!r}, wanted one of open_clip with CLIP's tokenizer: ViT-B-32.")
        file = _weights(package, model, weights)
        with torch.random.fork_rng(devices=[]), _quiet():  # it draws weights, and says so, before ours replace them
            self.model = package.create_model(model, load_weights=False, force_quick_gelu=quick_gelu)
        try:
            package.load_checkpoint(self.model, str(file), strict=True, weights_only=True)
        except (RuntimeError, KeyError, ValueError, pickle.UnpicklingError) as error:
            raise AssetError(
                f"{file}: not the weights of {model} ({error}). Wanted its state dict. OpenAI's own .pt is an archive "
                "of code; the file open_clip_model.safetensors of the same weights is not."
            ) from error
        self.model.eval().requires_grad_(False)
        self.tokenizer = package.get_tokenizer(model)
        size = self.model.visual.image_size
        self.side = int(size if isinstance(size, int) else size[0])
        for name in ("mean", "std"):
            values = torch.tensor(getattr(self.model.visual, f"image_{name}"))
            self.register_buffer(name, values.view(3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.digest = hashlib.sha256(f"clip/1 {model} {quick_gelu} {sha256(file)}".encode()).hexdigest()

    def image(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) RGB in [0, 1], any S -> (B, D) unit vectors, differentiable.

        Resized as CLIP's own preparation does it (bicubic, antialiased).

        Raises:
            ValueError: not square, or values outside [0, 1].
        """
        check_images(images)
        if images.shape[-1] != self.side:
            images = functional.interpolate(images, size=[self.side] * 2, mode="bicubic", antialias=True)
        return functional.normalize(self.model.encode_image((images - self.mean) / self.std), dim=1)

    @torch.no_grad()
    def text(self, texts: Sequence[str]) -> Tensor:
        """N texts -> (N, D) unit vectors."""
        tokens = self.tokenizer(list(texts)).to(self.mean.device)
        return functional.normalize(self.model.encode_text(tokens), dim=1)


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings through the root logger, to which open_clip writes."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _weights(package: Any, model: str, weights: str | None) -> Path:
    """The file named, or the one in the cache of huggingface_hub."""
    if weights is not None:
        file = Path(weights).expanduser()
        if not file.is_file():
            raise AssetError(f"{file}: no such file; wanted the weights of {model}, as open_clip saves them.")
        return file
    known = package.get_pretrained_cfg(model, TAG) or {}
    repository = known.get("hf_hub", "").rstrip("/")
    hub = _package("huggingface_hub") if repository else None
    found = hub.try_to_load_from_cache(repository, "open_clip_model.safetensors") if hub else None
    if not isinstance(found, str):
        raise AssetError(
            f"CLIP: found no weights of {model}, and none are downloaded. Name a file (weights=PATH), or on a machine "
            f"with a network run: python -c \"import open_clip; open_clip.create_model('{model}', '{TAG}')\", and copy "
            "the cache of huggingface_hub."
        )
    return Path(found)


def check_images(images: Tensor) -> None:
    """Refuse what is no batch of square images in [0, 1]: CLIP would look at another range without complaint.

    Raises:
        ValueError: another shape or range.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"CLIP wants images (B, 3, S, S); found {tuple(images.shape)}.")
    if len(images) and not (images.amin() >= -1e-3 and images.amax() <= 1 + 1e-3):
        raise ValueError(f"CLIP wants RGB in [0, 1]; found {float(images.amin()):.3f} to {float(images.amax()):.3f}.")


def _unit(directions: Tensor) -> Tensor:
    """Directions of length 1; shorter than `FLOOR` they are divided by it instead."""
    return directions / directions.square().sum(-1, keepdim=True).clamp_min(FLOOR**2).sqrt()


def directional_loss(image: Tensor, image_origin: Tensor, text: Tensor, text_origin: Tensor) -> Tensor:
    """1 - cos(image - image_origin, text - text_origin), in [0, 2] (Gal et al., "StyleGAN-NADA", ACM TOG 2022).

    An image that has not moved has loss 1 and a gradient towards the text.

    Args:
        image, image_origin: (B, D) unit embeddings.
        text, text_origin: (D,) or (B, D): of the words wanted, and of those that describe the origin.

    Returns:
        (B,)
    """
    return 1 - (_unit(image - image_origin) * _unit(text - text_origin)).sum(dim=-1)


def info_nce(query: Tensor, positives: Tensor, negatives: Tensor, temperature: float = 0.1) -> Tensor:
    """The contrastive loss of each positive against all negatives, averaged over the positives.

    -log(e^(q p / t) / (e^(q p / t) + sum over n of e^(q n / t))), on unit vectors (van den Oord et al., 2018).

    Args:
        query: (B, D) directions.
        positives: (P, D) or (B, P, D).
        negatives: (N, D) or (B, N, D).

    Returns:
        (B,)
    """
    q = _unit(query)[:, None, :]
    near, far = ((q * _unit(keys)).sum(dim=-1) / temperature for keys in (positives, negatives))
    rest = far.logsumexp(dim=-1, keepdim=True)
    return functional.softplus(rest - near).mean(dim=-1)


class ClipGuidance:
    """Pull images towards words: `bind` gives the loss.

    Args:
        clip: the encoder.
        prompt: what the face should have, e.g. "red lipstick".
        origin_text: what is there already; the words compared are "a face with red lipstick" and "a face".
        loss: "directional": 1 - the cosine between the image's move and the text's. "info_nce": the move of the image
            against two positives (the text's move, and the way from the original image to the text) and as negatives
            the way from the original image to the origin's words, one a template, as the code of CLIP2Protect does it
            (Shamshad et al., CVPR 2023).
        distortion: strength of the random perspective under which images are seen, from 0 to 1; 0 shows them as they
            are. The originals are always seen as they are.
        temperature: of "info_nce".
        templates: wordings with one {} each.

    Raises:
        ConfigError: an unknown loss, no prompt, a template without {}, or a distortion or temperature out of range.
    """

    def __init__(
        self,
        clip: Encoder,
        prompt: str,
        origin_text: str = "face",
        loss: Literal["directional", "info_nce"] = "directional",
        distortion: float = 0.5,
        temperature: float = 0.1,
        templates: Sequence[str] = TEMPLATES,
    ) -> None:
        if loss not in ("directional", "info_nce"):
            raise ConfigError(f"ClipGuidance: found loss {loss!r}, wanted 'directional' or 'info_nce'.")
        if not prompt.strip() or not origin_text.strip():
            raise ConfigError("ClipGuidance: found an empty text, wanted a prompt such as 'red lipstick'.")
        if not templates or any(template.count("{}") != 1 for template in templates):
            raise ConfigError("ClipGuidance: wanted templates with one {} each, where the words go.")
        if not 0 <= distortion < 1 or not temperature > 0:
            raise ConfigError(
                f"ClipGuidance: found distortion {distortion} and temperature {temperature}, wanted the first from 0 "
                "to below 1, the second above 0."
            )
        self.clip, self.loss, self.distortion, self.temperature = clip, loss, distortion, temperature
        self.prompt = prompt
        self.texts = [template.format(f"a {origin_text} with {prompt}") for template in templates]
        self.origin_texts = [template.format(f"a {origin_text}") for template in templates]

    @torch.no_grad()
    def bind(self, originals: Tensor, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
        """The loss of images that began as `originals`.

        Args:
            originals: (B, 3, S, S) RGB in [0, 1].
            rng: draws a perspective at every call.

        Returns:
            (B, 3, S, S) -> (B,), lower is nearer to the words; differentiable in the images. It raises ValueError when
            given another number of images.
        """
        if isinstance(self.clip, nn.Module):
            self.clip.to(originals.device)
        origin, text, text_origin = (
            self.clip.image(originals),
            self.clip.text(self.texts),
            self.clip.text(self.origin_texts),
        )
        words, before = text.mean(dim=0), text_origin.mean(dim=0)
        positives = torch.stack([(words - before).expand_as(origin), words - origin], dim=1)
        negatives = text_origin - origin[:, None, :]

        def loss(images: Tensor) -> Tensor:
            if len(images) != len(origin):
                raise ValueError(f"ClipGuidance is bound to {len(origin)} images; found {len(images)}.")
            seen = random_perspective(images, rng, self.distortion) if self.distortion else images
            image = self.clip.image(seen)
            if self.loss == "directional":
                return directional_loss(image, origin, words, before)
            return info_nce(image - origin, positives, negatives, self.temperature)

        return loss
