"""Choosing among pictures: where a search begins, and which of its ends is kept; of classifiers and embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attacks.inversion_priors import Prior
from facesec_bench.access import ClassifierAccess, EmbeddingAccess

Access = ClassifierAccess | EmbeddingAccess
View = Callable[[Tensor], Tensor]
"""(B, 3, 224, 224) -> the same pictures as they may be seen."""

AT_ONCE = 32
"""Pictures looked at together."""


def sureness(victim: Access, chips: Tensor, people: Tensor) -> Tensor:
    """(B, 3, 224, 224), (B,) -> (B,): the probability of each picture's person, or its cosine to their template.

    Raises:
        AccessError: the victim gives neither, or its budget is spent.
    """
    if isinstance(victim, EmbeddingAccess):
        return victim.similarity(chips, people)
    return victim.probabilities(chips).gather(1, people[:, None])[:, 0]


def best_of_pool(prior: Prior, drawn: Tensor, victim: Access, people: Tensor) -> Tensor:
    """The first of `best_of_pool_scored`."""
    return best_of_pool_scored(prior, drawn, victim, people)[0]


def best_of_pool_scored(prior: Prior, drawn: Tensor, victim: Access, people: Tensor) -> tuple[Tensor, Tensor]:
    """(pool, P) parameters, (B,) people -> (B, P): what the victim takes for each most; a person's j-th row has their
    j-th best, and begins anew after the last one. And (B,) how sure it is of each.

    A classifier and an embedding are asked once for each picture, a similarity once for each picture and person.
    """
    turn = (people[:, None] == people[None, :]).tril(-1).sum(1)
    scores = _scores(prior, drawn, victim, people)
    order = scores.argsort(dim=0, descending=True, stable=True)
    best = order[turn % len(drawn), people]
    return drawn[best], scores[best, people]


def _scores(prior: Prior, drawn: Tensor, victim: Access, people: Tensor) -> Tensor:
    """(pool, K): how well each picture fits each person; -inf for people who are not asked for."""
    if isinstance(victim, ClassifierAccess):
        return torch.cat([victim.probabilities(prior.render(few)) for few in drawn.split(AT_ONCE)])
    if victim.level != "similarity":
        return torch.cat([victim.embed(prior.render(few)) for few in drawn.split(AT_ONCE)]) @ victim.enrolled.T.to(
            drawn
        )
    found = torch.full((len(drawn), victim.people), -torch.inf, device=drawn.device)
    for begin in range(0, len(drawn), AT_ONCE):
        chips = prior.render(drawn[begin : begin + AT_ONCE])
        for person in people.unique().tolist():
            whom = torch.full((len(chips),), person, device=drawn.device)
            found[begin : begin + len(chips), person] = victim.similarity(chips, whom)
    return found


def surest(chips: Tensor, people: Tensor, victim: Access, views: Sequence[View]) -> Tensor:
    """(B * R, 3, 224, 224), R pictures in a row for each of (B,) people -> (B, 3, 224, 224): of each person's pictures
    as many as were asked for, the surest on average over the views first."""
    wanted = people.repeat_interleave(len(chips) // len(people))
    sure = torch.stack(
        [
            torch.cat(
                [
                    sureness(victim, few, who)
                    for few, who in zip(seen.split(AT_ONCE), wanted.split(AT_ONCE), strict=True)
                ]
            )
            for seen in (view(chips) for view in views)
        ]
    ).mean(0)
    chosen = torch.empty_like(people)
    for person in people.unique():
        rows = (wanted == person).nonzero()[:, 0]
        own = (people == person).nonzero()[:, 0]
        chosen[own] = rows[sure[rows].argsort(descending=True, stable=True)[: len(own)]]
    return chips[chosen]
