"""From the settings of a run to what is handed to the loop: the one place that knows both."""

from __future__ import annotations

import dataclasses

import chainer

from ddgm import training
from ddgm.beyond_the_paper.energy_penalty import energy_penalty
from ddgm.beyond_the_paper.entropies import neighbour_entropy, volume_entropy
from ddgm.beyond_the_paper.langevin import refine
from ddgm.beyond_the_paper.persistent_chains import PersistentChains
from ddgm.beyond_the_paper.resampling import sampling_importance_resampling
from ddgm.fast import sharding
from ddgm.fast.captured import drawn
from ddgm.presets import MNISTSettings, Settings, ToySettings


def chains_of(settings: Settings) -> PersistentChains | None:
    """What a run has that goes on from iteration to iteration beside both models: its chains, before they begin."""
    return PersistentChains(settings.restarts) if isinstance(settings, MNISTSettings) and settings.restarts else None


def parts_of(settings: Settings, chains: PersistentChains | None = None) -> list[tuple[int, dict]]:
    """The parts of a run, as pairs: a part's last iteration and what is handed to the loop until then.

    Almost always there is one.  With ``proposals_from`` there are two: first x⁻ are the generator's samples, so that
    the energy falls wherever these miss the data, and draws them there.  Once none is missed, x⁻ are proposals.
    """
    if not (isinstance(settings, ToySettings) and settings.proposals and settings.proposals_from):
        return [(settings.iterations, handed_to_the_loop(settings, chains))]
    before = dataclasses.replace(settings, proposals=0)
    after = dataclasses.replace(settings, proposals_from=0, langevin_steps=0, energy_penalty=0.0)
    return [(min(settings.proposals_from, settings.iterations), handed_to_the_loop(before)),
            (settings.iterations, handed_to_the_loop(after))]


def handed_to_the_loop(settings: Settings, chains: PersistentChains | None = None) -> dict:
    """The arguments of :func:`ddgm.training.train` by which a run with these settings leaves the paper: a dict.

    With the defaults of the settings they are the paper's.  ``chains`` are those of :func:`chains_of`.
    """
    def refine_samples(energy_model, x, rng):
        return refine(energy_model, x, settings.langevin_steps, settings.langevin_step_size, rng)

    def chosen_proposals(energy_model, x, rng):
        return sampling_importance_resampling(
            energy_model, x, settings.proposals, settings.proposal_deviation, settings.near_deviation, rng)

    def penalty(positive_energies, negative_energies):
        return energy_penalty(positive_energies, negative_energies, settings.energy_penalty)

    def entropy_of_neighbours(generative_model, z, x, rng):
        device = generative_model.device
        with chainer.no_backprop_mode():
            others = [
                generative_model(drawn(device, rng, lambda rng: sharding.shard_of(
                    generative_model.draw_latent(settings.batchsize, rng)))).array
                for _ in range(settings.neighbour_batches)]
            others = sharding.all_gather(device.xp.concatenate(others))
        return neighbour_entropy(x, others, settings.neighbours)

    def entropy_of_volume(generative_model, z, x, rng):
        return volume_entropy(generative_model, z)

    in_plane = isinstance(settings, ToySettings)
    moved = chains
    if in_plane and settings.proposals:
        moved = chosen_proposals
    elif settings.langevin_steps:
        moved = refine_samples
    entropies = {'entropy': (training.gamma_entropy, settings.entropy_weight)}
    if in_plane and settings.neighbour_entropy_weight:
        entropies['neighbour_entropy'] = entropy_of_neighbours, settings.neighbour_entropy_weight
    if settings.volume_entropy_weight:
        entropies['volume_entropy'] = entropy_of_volume, settings.volume_entropy_weight
    return {
        'refine': moved, 'energy_term': penalty if settings.energy_penalty else None, 'entropies': entropies}
