"""Generators and discriminators: any size in 2D and 3D, conditions that are heard, chance from the seed alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.blocks import SPADE
from torch import nn

from trainers.networks import build
from trainers.networks.blocks import Embedding, Modulation, ResidualBlock, pyramid
from trainers.networks.generator import Generator
from trainers.spec import ModelNotAvailable, load_weights, save_weights
from trainers.tasks.synthesis.presets import PRESETS, Shape, networks_of

SIZES = [(28, 28), (33, 20), (9, 14, 11), (8, 17, 10)]
KINDS = {"PerceptronGenerator": "gan", "DCGANGenerator": "cgan", "ResidualGenerator": "default"}


def pair(preset: str, size: Sequence[int], **shape: object) -> tuple[Generator, nn.Module]:
    """A small generator and its discriminator."""
    outline = Shape(tuple(size), generator=(8, 6, 4), discriminator=(4, 6, 8), latent=5, **shape)  # type: ignore[arg-type]
    torch.manual_seed(0)
    generator, discriminator = (build(network) for network in networks_of(PRESETS[preset], outline))
    assert isinstance(generator, Generator)
    return generator, discriminator


def stirred(network: nn.Module) -> nn.Module:
    """With all weights moved a little, so that what starts at zero takes part."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return network.eval()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def categories_of(counts: Sequence[int], number: int) -> torch.Tensor | None:
    return torch.tensor([[i % c for c in counts] for i in range(number)]) if counts else None


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("categories", [(), (3,), (2, 4)], ids=str)
def test_every_preset_makes_and_judges_images_of_any_size(
    preset: str, size: tuple[int, ...], categories: tuple[int, ...]
) -> None:
    generator, discriminator = pair(preset, size, categories=categories, channels=2)
    targets = categories_of(categories, 3) if PRESETS[preset].condition else None
    image = generator(generator.latents(3, seeded()), targets)
    assert image.shape == (3, 2, *size) and image.abs().max() <= 1
    scores, logits = discriminator(image, targets)
    assert scores.shape == (3, 1)
    if preset == "acgan" and categories:
        assert logits.shape == (3, categories[0])
    else:
        assert logits is None


@pytest.mark.parametrize("size", [(13, 10), (9, 14, 11)], ids=str)
def test_both_residual_networks_take_maps(size: tuple[int, ...]) -> None:
    shape = {"maps": 3, "noise": True, "stem": 2, "patches": True}
    generator, discriminator = pair("default", size, **shape)
    maps = torch.zeros(2, 3, *size)
    image = generator(generator.latents(2, seeded()), None, maps)
    scores, _ = discriminator(image, None, maps)
    coarsest = pyramid([-(-n // 2) for n in size], 3)[0]
    assert image.shape == (2, 1, *size) and scores.shape == (2, math.prod(coarsest))


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(sorted(KINDS.values())),
    st.one_of(st.tuples(*[st.integers(8, 40)] * 2), st.tuples(*[st.integers(8, 19)] * 3)),
    st.integers(1, 4),
)
def test_the_size_is_always_the_one_asked_for(preset: str, size: tuple[int, ...], levels: int) -> None:
    shape = Shape(size, generator=(4,) * levels, discriminator=(4,) * levels, latent=3)
    generator, discriminator = (build(network) for network in networks_of(PRESETS[preset], shape))
    assert isinstance(generator, Generator)
    image = generator(generator.latents(2, seeded()))
    assert image.shape == (2, 1, *size)
    assert torch.isfinite(discriminator(image)[0]).all()


@given(st.lists(st.integers(1, 300), min_size=2, max_size=3), st.integers(1, 6))
def test_levels_double_up_to_the_size(size: list[int], levels: int) -> None:
    sizes = pyramid(size, levels)
    assert len(sizes) == levels and sizes[-1] == tuple(size)
    for low, high in pairwise(sizes):
        assert low == tuple(-(-n // 2) for n in high)


@pytest.mark.parametrize("preset", [p for p, row in PRESETS.items() if row.condition])
def test_a_category_that_is_missing_is_asked_for(preset: str) -> None:
    generator, discriminator = pair(preset, (12, 12), categories=(2,))
    with pytest.raises(ValueError, match="generator is told a category"):
        generator(generator.latents(2))
    if preset != "acgan":  # whose discriminator guesses it
        with pytest.raises(ValueError, match="discriminator is told a category"):
            discriminator(torch.zeros(2, 1, 12, 12))


def test_maps_are_taken_by_those_who_fill_them_alone() -> None:
    filling, _ = pair("default", (12, 12), maps=2)
    with pytest.raises(ValueError, match="fills a map; none was given"):
        filling(filling.latents(1))
    for preset in KINDS.values():
        generator, _ = pair(preset, (12, 12))
        with pytest.raises(ValueError, match="takes no maps"):
            generator(generator.latents(2), None, torch.zeros(2, 2, 12, 12))
    with pytest.raises(ValueError, match="Only the default preset fills label maps"):
        networks_of(PRESETS["dcgan"], Shape((12, 12), maps=2))


def test_unknown_names_are_told_with_the_known_ones() -> None:
    _, described = networks_of(PRESETS["default"], Shape((12, 12)))
    with pytest.raises(ValueError, match=r"no condition 'projektion'.*concatenate, projection, auxiliary"):
        build(described | {"condition": "projektion"})
    with pytest.raises(ValueError, match=r"no network 'Unheard'.*ResidualGenerator"):
        build({"name": "Unheard"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(13, 10), (9, 10, 8)], ids=str)
def test_the_class_changes_the_image_and_its_score(kind: str, size: tuple[int, ...]) -> None:
    preset = "default" if kind == "ResidualGenerator" else "cgan"
    shape = Shape(size, generator=(8, 4), discriminator=(4, 8), categories=(2, 2), latent=5)
    described = networks_of(PRESETS[preset], shape)[0] | {"name": kind}
    described = {k: v for k, v in described.items() if kind == "ResidualGenerator" or k not in ("maps", "noise")}
    generator = stirred(build(described))
    assert isinstance(generator, Generator)
    latents = [x.expand(4, *x.shape[1:]) for x in generator.latents(1, seeded())]
    every = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    images = generator(latents, every).flatten(1)
    assert torch.pdist(images).min() > 1e-3
    torch.testing.assert_close(generator(latents, every.flip(0)).flatten(1), images.flip(0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("preset", ["cgan", "default", "acgan"])
def test_the_class_is_judged(preset: str) -> None:
    _, discriminator = pair(preset, (12, 12), categories=(2,))
    stirred(discriminator)
    image = torch.randn(1, 1, 12, 12, generator=seeded())
    (one, logits), (two, _) = (discriminator(image, torch.tensor([[c]])) for c in (0, 1))
    if preset == "acgan":
        assert logits.shape == (1, 2) and torch.equal(one, two)
    else:
        assert (one - two).abs() > 1e-4


def test_the_sum_of_embeddings_tells_categories_apart() -> None:
    embedding = Embedding([2, 3], 4)
    given = torch.tensor([[1, 2]])
    expected = embedding.tables[0].weight[1] + embedding.tables[1].weight[2]
    torch.testing.assert_close(embedding(given)[0], expected)


@pytest.mark.parametrize("size", [(24, 20), (20, 16, 18)], ids=str)
def test_a_map_changes_the_image_where_it_is_changed(size: tuple[int, ...]) -> None:
    generator, _ = pair("default", size, maps=2, noise=True)
    latents = generator.latents(1, seeded())
    maps = torch.zeros(1, 2, *size)
    maps[:, 0] = 1
    corner = (0, slice(None), *[slice(0, 4)] * len(size))
    drawn = maps.clone()
    drawn[corner] = torch.tensor([0.0, 1.0]).reshape(2, *[1] * len(size))
    far = (0, slice(None), *[slice(12, None)] * len(size))
    with torch.no_grad():
        change = (generator(latents, None, drawn) - generator(latents, None, maps)).abs()
        assert change[corner].min() > 0 and change[far].max() == 0  # before training, exactly there
        stirred(generator)
        change = (generator(latents, None, drawn) - generator(latents, None, maps)).abs()
    assert change[corner].mean() > 3 * change[far].mean()


@pytest.mark.parametrize("maps_at", ["coarse", "fine"])
def test_maps_reach_every_level(maps_at: str) -> None:
    """Coarse levels are modulated by them, the finest one gets them added."""
    generator, _ = pair("default", (12, 12), maps=2)
    names = [name for name, _ in generator.named_parameters() if "modulate" in name or "add_maps" in name]
    chosen = [n for n in names if n.startswith("add_maps") == (maps_at == "fine")]
    stirred(generator)
    maps = torch.rand(2, 2, 12, 12, generator=seeded())
    generator([x.expand(2, *x.shape[1:]) for x in generator.latents(1, seeded())], None, maps).sum().backward()
    gradients = [dict(generator.named_parameters())[n].grad for n in chosen]
    assert chosen and all(g is not None and g.abs().sum() > 0 for g in gradients)


@pytest.mark.parametrize("preset", KINDS.values())
def test_latents_come_from_the_seed_alone(preset: str) -> None:
    shape = {"noise": True} if preset == "default" else {}
    generator, _ = pair(preset, (12, 10), **shape)
    stirred(generator)
    one = generator.latents(3, seeded(7))
    torch.manual_seed(123)
    again, other = generator.latents(3, seeded(7)), generator.latents(3, seeded(8))
    for a, b in zip(one, again, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(generator(one), generator(again)) and not torch.allclose(generator(one), generator(other))


def test_noise_is_added_at_every_level_once_it_is_learned() -> None:
    generator, _ = pair("default", (12, 10), noise=True)
    latents = generator.latents(1, seeded())
    assert [tuple(x.shape) for x in latents[1:]] == [(1, 1, 3, 3), (1, 1, 6, 5), (1, 1, 12, 10)]
    with torch.no_grad():
        for level in range(3):
            silent = generator(latents)
            changed = [x if i != level + 1 else -x for i, x in enumerate(latents)]
            assert torch.equal(generator(changed), silent)  # its strength starts at zero
            generator.noise[level].strength.fill_(0.5)  # type: ignore[union-attr]
            assert not torch.allclose(generator(changed), generator(latents))


@pytest.mark.parametrize("output", ["softmax", "linear"])
def test_outputs_for_label_maps_and_values(output: str) -> None:
    generator, _ = pair("default", (12, 12), channels=3, output=output)
    image = 5 * stirred(generator)(generator.latents(2, seeded()))
    if output == "softmax":
        torch.testing.assert_close(image.sum(1), torch.full((2, 12, 12), 5.0))
        assert image.min() >= 0
    else:
        assert image.abs().max() > 1


@pytest.mark.parametrize("size", [(12, 10), (9, 10, 8)], ids=str)
@pytest.mark.parametrize("preset", ["default", "dcgan"])
def test_the_layout_in_memory_leaves_values_alone(preset: str, size: tuple[int, ...]) -> None:
    generator, discriminator = pair(preset, size)
    layout = torch.channels_last if len(size) == 2 else torch.channels_last_3d
    kernels = [p for net in (generator, discriminator) for p in net.parameters() if p.ndim == len(size) + 2]
    assert any(p.is_contiguous(memory_format=layout) and min(p.shape[:2]) > 1 for p in kernels)
    latents = generator.latents(2, seeded())
    with torch.no_grad():
        image = generator.eval()(latents)
        scores = discriminator.eval()(image)[0]
        for network in (generator, discriminator):
            network.to(memory_format=torch.contiguous_format)
            for parameter in network.parameters():
                parameter.data = parameter.data.contiguous()
        torch.testing.assert_close(generator(latents), image, rtol=0, atol=1e-5)
        torch.testing.assert_close(discriminator(image)[0], scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_weights_come_back_from_a_file(preset: str, tmp_path: Path) -> None:
    shape = {"maps": 2, "noise": True} if preset == "default" else {}
    networks = pair(preset, (12, 10), categories=(2,), **shape)
    fresh = pair(preset, (12, 10), categories=(2,), **shape)
    for network, empty in zip(networks, fresh, strict=True):
        stirred(network), stirred(empty)
        with torch.no_grad():
            for parameter in empty.parameters():
                parameter.zero_()
        save_weights(network, tmp_path / "w.safetensors", half=False)
        load_weights(empty, tmp_path / "w.safetensors")
        for (name, a), b in zip(network.state_dict().items(), empty.state_dict().values(), strict=True):
            assert torch.equal(a, b), name
    with pytest.raises(ModelNotAvailable, match="of another network"):
        load_weights(fresh[0], tmp_path / "w.safetensors")


def test_a_critic_does_not_mix_the_images_of_a_batch() -> None:
    """A gradient penalty would be wrong otherwise; the DCGAN discriminator with batch norm does mix them."""
    images = torch.randn(4, 1, 12, 12, generator=seeded())
    for preset, mixes in (("dcgan", True), ("wgan", False), ("wgan-gp", False), ("default", False)):
        _, critic = pair(preset, (12, 12))
        stirred(critic).train()
        alone = torch.cat([critic(images[:2])[0], critic(images[2:])[0]])
        assert torch.allclose(critic(images)[0], alone, atol=1e-4) is not mixes


def test_each_place_and_the_whole_image_are_judged() -> None:
    """A local change is seen most at its place; a shift of the whole image's score moves all places alike."""
    _, discriminator = pair("default", (32, 32), patches=True)
    image = torch.zeros(1, 1, 32, 32)
    drawn = image.clone()
    drawn[..., :4, :4] = torch.randn(4, 4, generator=seeded())
    with torch.no_grad():
        before = discriminator(image)[0]
        moved = (discriminator(drawn)[0] - before)[0].reshape(8, 8)
        far = moved[4:, 4:]
        torch.testing.assert_close(far, far[:1, :1].expand(4, 4), rtol=1e-3, atol=1e-5)
        assert (moved[:2, :2] - far[0, 0]).abs().max() > 1e-2
        discriminator.score.bias.add_(2)  # type: ignore[union-attr, operator]
        torch.testing.assert_close(discriminator(image)[0], before + 2)


def test_a_residual_block_starts_as_the_identity() -> None:
    block = ResidualBlock(2, 4)
    x = torch.randn(1, 4, 6, 6, generator=seeded())
    assert torch.equal(block(x), x)


def test_maps_alone_hide_what_a_latent_did_and_the_style_shows_it() -> None:
    torch.manual_seed(0)
    x, maps, styles = torch.randn(1, 3, 6, 6), torch.randn(1, 2, 6, 6), torch.randn(2, 1, 4)
    without, told = Modulation(2, 3, 2, 0), Modulation(2, 3, 2, 4)
    torch.testing.assert_close(without(5 * x, maps, None), without(x, maps, None), atol=1e-3, rtol=1e-3)
    assert float((told(x, maps, styles[0]) - told(x, maps, styles[1])).abs().mean().detach()) > 0.1


@pytest.mark.parametrize("size", [(6, 5), (6, 5, 4)], ids=str)
def test_a_style_scales_and_shifts_each_channel_of_each_image(size: tuple[int, ...]) -> None:
    """Huang and Belongie 2017, equation 8, after the maps."""
    torch.manual_seed(0)
    block = Modulation(len(size), 3, maps=2, style=4)
    x, maps, style = torch.randn(2, 3, *size), torch.randn(2, 2, *size), torch.randn(2, 4)
    assert block.style is not None
    told, plain = block(x, maps, style), SPADE.forward(block, x, maps)
    numbers = style @ block.style.weight.T + block.style.bias
    for image in range(2):
        for channel in range(3):
            expected = plain[image, channel] * (1 + numbers[image, channel]) + numbers[image, 3 + channel]
            torch.testing.assert_close(told[image, channel], expected)
    torch.testing.assert_close(Modulation(len(size), 3, 2, 0)(x, maps, None).shape, x.shape)


@pytest.mark.parametrize("name", ["dcgan", "wgan-gp"])
def test_signals_neither_fade_nor_grow_through_a_narrow_dcgan(name: str) -> None:
    torch.manual_seed(0)
    outline = Shape((28, 28), generator=(96, 48, 16), discriminator=(32, 64, 96))
    _, discriminator = (build(network) for network in networks_of(PRESETS[name], outline))
    seen = discriminator.layers[0](torch.randn(64, 1, 28, 28))  # type: ignore[union-attr, operator]
    assert 0.5 < float(seen.std()) < 3
