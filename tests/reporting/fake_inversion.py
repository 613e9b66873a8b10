"""A made-up inversion study, said to be a fixture wherever it can be read. No number in it was measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fake_run import write_run
from PIL import Image

from facesec_bench.records import RunCard, Score, Shot, Strip, read_scores, write_examples, write_scores, write_strips

PEOPLE, SAMPLES = 40, 2
ATTACKS = {
    # top-1, queries, gradients: in the order of a card, controls in the midst
    "gmi": (0.35, 402.0, 400.0),
    "ppa": (0.8, 950.0, 600.0),
    "random_latent": (0.025, 0.0, 0.0),
    "brep_mi": (0.3, 61000.0, 0.0),
    "best_of_random": (0.12, 5.0, 0.0),
    "mean_face": (0.03, 0.0, 0.0),
}
TEMPLATES = {"template_inversion": (0.7, 300.0, 300.0), "blobs": (0.4, 30000.0, 0.0), "random_latent": (0.025, 0, 0)}
VICTIMS = {"sface_head": "sface", "small_cnn": None}
NAN = math.nan


def rate(value: float, half: float = 0.08, n: int = PEOPLE * SAMPLES) -> Score:
    """A proportion with an interval of so much to each side."""
    return Score(value, max(0.0, value - half), min(1.0, value + half), n)


def whole(value: float) -> Score:
    """A number without an interval."""
    return Score(value, NAN, NAN, PEOPLE * SAMPLES)


def write_inversion(root: Path, name: str = "run", **options: Any) -> Path:
    """Write a finished inversion run and return its folder.

    Options: scores (added; None drops a key), attacks and victims (as ATTACKS, VICTIMS), defended (name -> what the
    card says), failures, uses (method -> recognisers it is fitted to), one_generator, pictures
    (False for none), and fields of the card.
    """
    added, attacks = options.pop("scores", {}), options.pop("attacks", ATTACKS)
    victims, defended = options.pop("victims", VICTIMS), options.pop("defended", _DEFENDED)
    templates, pictures = options.pop("templates", TEMPLATES), options.pop("pictures", True)
    one, failed = options.pop("one_generator", False), options.pop("failures", [])
    uses = options.pop("uses", {})
    folder = write_run(root, name, target_names=("sface", "dlib_resnet", "mobilefacenet"), examples=0, **options)
    card, scores = RunCard.read(folder), read_scores(folder / "scores.json")
    scores = {k: s for k, s in scores.items() if "/clean/" in k and not k.startswith("base_")}
    recover = ["dlib_resnet"] if templates else []
    card.experiment, card.config, card.failures = "inversion", {"hardening": {"bido": {}, "dp_sgd": {}}}, list(failed)
    card.methods = {m: {"title": m.upper(), "source": "A paper", "config": {}} for m in (*attacks, *templates)}
    for method, names in uses.items():
        card.methods[method]["uses"] = names
    card.methods |= {v: {"title": v, "source": "", "config": {"recogniser": r}} for v, r in victims.items()}
    card.data |= {"inversion": _about(victims, recover, one), "defended": defended}
    for target in ("sface", "dlib_resnet", "mobilefacenet"):
        scores[f"evaluator_accuracy/clean/{target}"] = rate(0.98, 0.02, 60)
    for victim in victims:
        scores[f"victim_accuracy/clean/{victim}"] = rate(0.93, 0.04, 60)
        for attack, told in attacks.items():
            scores |= _recovered(attack, victim, "mobilefacenet", told)
    for attack, told in templates.items():
        scores |= _recovered(attack, "dlib_resnet", "mobilefacenet", told, own=True)
    scores |= _met(defended)
    scores |= {key: score for key, score in added.items() if score is not None}
    write_scores(folder / "scores.json", {k: s for k, s in scores.items() if added.get(k, s) is not None})
    card.write(folder)
    write_examples(folder / "examples.json", [])
    shown = {**dict.fromkeys(victims, attacks), **dict.fromkeys(recover, templates)}
    strips = [_strip(folder, v, p, list(names)) for v, names in shown.items() for p in range(4)] if pictures else []
    write_strips(folder / "strips.json", strips)
    return folder


_DEFENDED: dict[str, dict[str, Any]] = {
    "sface_head_bido": {"victim": "sface_head", "defence": "bido", "title": "BiDO."},
    "sface_head_dp_sgd": {"victim": "sface_head", "defence": "dp_sgd", "epsilon": 8.0, "delta": 1e-5},
    "sface_head_rounded": {"victim": "sface_head", "defence": "rounded"},
    "dlib_resnet_rotated": {"victim": "dlib_resnet", "defence": "rotated"},
}


def _about(victims: Any, recover: list[str], one: bool) -> dict[str, Any]:
    return {
        "people": PEOPLE, "taught": 140, "held": 60, "samples": SAMPLES, "public": "made-up others",
        "public_digest": "b" * 64, "public_photos": 400, "one_generator": one,
        "aggregation": "mean over all recoveries of all people", "plausible": 0.6,
        "evaluators": dict.fromkeys((*victims, *recover), "mobilefacenet"),
    }  # fmt: skip


def _recovered(
    attack: str, victim: str, judge: str, told: tuple[float, float, float], own: bool = False
) -> dict[str, Score]:
    top1, queries, gradients = told
    values = {"top1": top1, "top5": min(1.0, top1 + 0.1), "top1_plausible": 0.8 * top1, "plausibility": 0.7}
    made = {f"{m}/{attack}/{victim}": rate(x) for m, x in values.items()}
    made[f"nn_distance/{attack}/{victim}"] = Score(1.5 - top1, 1.45 - top1, 1.55 - top1, PEOPLE * SAMPLES)
    if not own:
        made[f"confidence/{attack}/{victim}"] = rate(min(0.99, 2 * top1), 0.01)
    for measure, x in (("queries", queries), ("gradients", gradients), ("seconds", 1.2), ("frechet_fr", 0.9),
                       ("precision", 0.4), ("recall", 0.1), ("density", 0.5), ("coverage", 0.2)):  # fmt: skip
        made[f"{measure}/{attack}/{victim}"] = whole(x)
    for i, encoder in enumerate(dict.fromkeys((judge, "sface", "dlib_resnet", *([victim] if own else [])))):
        by = attack if own and encoder == victim else f"{attack}@{victim}"
        made[f"cosine/{by}/{encoder}"] = rate(0.1 + 0.5 * top1 + 0.01 * i, 0.02)
        made[f"above_strangers/{by}/{encoder}"] = rate(5 * top1, 0.2)
        for kind, kept in (("type1", 1.0), ("type2", 0.8)):
            for far in ("1e-1", "1e-2"):
                made[f"sar_{kind}_far_{far}/{by}/{encoder}"] = rate(kept * top1 * (0.9 if far == "1e-1" else 0.6))
    return made


def _met(defended: Any) -> dict[str, Score]:
    """BiDO lowers PPA at a cost; DP-SGD takes all and the accuracy too; the filter meets labels; a rotation nothing."""
    made: dict[str, Score] = {}
    if "sface_head_bido" in defended:
        made |= _recovered("ppa", "sface_head_bido", "mobilefacenet", (0.3, 950.0, 600.0))
        made |= _recovered("gmi", "sface_head_bido", "mobilefacenet", (0.33, 402.0, 400.0))
        made["victim_accuracy/clean/sface_head_bido"] = rate(0.91, 0.05, 60)
    if "sface_head_dp_sgd" in defended:
        made |= _recovered("ppa", "sface_head_dp_sgd", "mobilefacenet", (0.02, 950.0, 600.0))
        made["victim_accuracy/clean/sface_head_dp_sgd"] = rate(0.4, 0.1, 60)
    if "sface_head_rounded" in defended:
        made |= _recovered("brep_mi", "sface_head_rounded", "mobilefacenet", (0.3, 61000.0, 0.0))
    if "dlib_resnet_rotated" in defended:
        made |= _recovered("blobs", "dlib_resnet_rotated", "mobilefacenet", (0.41, 30000.0, 0.0), own=True)
        made["tar_at_far_1e-2/clean/dlib_resnet_rotated"] = rate(0.985, 0.02, 300)
        made["evaluator_accuracy/clean/dlib_resnet_rotated"] = rate(0.97, 0.02, 60)
    return made


def _strip(folder: Path, victim: str, person: int, methods: list[str]) -> Strip:
    shots = []
    for i, method in enumerate(["private", *methods]):
        path = folder / "images" / victim / method / f"{person}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (224, 224), (60 + 20 * i, 40 + 50 * person, 120)).save(path)
        legend = "a taught photo" if method == "private" else "0.31, the person; face 0.88"
        shots.append(Shot("Private photo" if method == "private" else method, str(path.relative_to(folder)), legend))
    return Strip(f"inversion:{victim}", f"person {person}", f"recovered from {victim}", tuple(shots))
