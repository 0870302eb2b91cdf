"""What goes wrong for a user when corruptions are not what they say; the oracles are SciPy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.evaluation.robustness import CORRUPTIONS, Corrupted, corruption_table
from tests.training.toys import seeded


def pictures(side: int = 24) -> torch.Tensor:
    """Smooth, as real pictures are: neighbours differ little."""
    return torch.randn(3, 2, side, side + 4, generator=seeded(1)).cumsum(dim=2).cumsum(dim=3) / side


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_grows_with_its_severity_and_leaves_the_picture_alone(name: str) -> None:
    """Otherwise severity 5 may be kinder than 1, or corruptions pile up in the data set."""
    given = pictures()
    before = given.clone()
    distances = []
    for severity in range(1, 6):
        corrupted = CORRUPTIONS[name](given, severity, seeded(0))
        assert corrupted.shape == given.shape
        assert corrupted.dtype == given.dtype
        distances.append(float((corrupted - given).square().mean()))
    assert distances == sorted(distances)
    assert distances[0] > 0
    assert torch.equal(given, before)


def test_blur_is_scipys() -> None:
    """Otherwise the blur has another width, or shifts the picture."""
    given = pictures()
    found = CORRUPTIONS["blur"](given, 5, seeded(0))
    sigma = 1.2
    oracle = gaussian_filter(
        given.numpy(),
        sigma=(0, 0, sigma, sigma),
        mode="mirror",
        radius=(0, 0, math.ceil(3 * sigma), math.ceil(3 * sigma)),
    )
    np.testing.assert_allclose(found.numpy(), oracle, atol=1e-4)


def test_contrast_brightness_and_noise_in_closed_form() -> None:
    """Otherwise the figures of two tools cannot be compared."""
    given = pictures()
    spread = given.std(dim=(1, 2, 3), unbiased=False)
    weak = CORRUPTIONS["contrast"](given, 4, seeded(0))
    torch.testing.assert_close(weak.std(dim=(1, 2, 3), unbiased=False), 0.3 * spread)
    torch.testing.assert_close(weak.mean(dim=(1, 2, 3)), given.mean(dim=(1, 2, 3)))
    bright = CORRUPTIONS["brightness"](given, 2, seeded(0)) - given
    torch.testing.assert_close(bright, (0.4 * spread)[:, None, None, None].expand_as(bright), atol=1e-5, rtol=1e-5)
    noise = CORRUPTIONS["gaussian_noise"](given, 5, seeded(0)) - given
    torch.testing.assert_close(noise.std(dim=(1, 2, 3)), 0.75 * spread, rtol=0.1, atol=0)


def test_pixels_are_pillows() -> None:
    """Otherwise pixelated pictures are shifted, or blurred as well."""
    given = pictures(20)
    found = CORRUPTIONS["pixelate"](given, 2, seeded(0))
    small = Image.fromarray(given[0, 0].numpy()).resize((12, 10), Image.Resampling.BILINEAR)
    oracle = small.resize((24, 20), Image.Resampling.NEAREST)
    np.testing.assert_allclose(found[0, 0].numpy(), np.asarray(oracle), atol=1e-5)


def test_every_walk_sees_the_same_pictures_and_nothing_else_changes() -> None:
    """Otherwise teacher and student are tried on different noise."""
    batches = [{"pixel_values": pictures(), "labels": torch.rand(3, 2, 4, 4)} for _ in range(2)]
    loader = Corrupted(batches, "gaussian_noise", CORRUPTIONS["gaussian_noise"], 3)
    first, again = list(loader), list(loader)
    for one, other, given in zip(first, again, batches, strict=True):
        assert torch.equal(one["pixel_values"], other["pixel_values"])
        assert not torch.equal(one["pixel_values"], given["pixel_values"])
        assert one["labels"] is given["labels"]
    assert not torch.equal(first[0]["pixel_values"], first[1]["pixel_values"])
    assert len(loader) == 2


def test_data_without_pictures_and_unknown_names_are_errors() -> None:
    """Otherwise a table of untouched texts shows perfect robustness."""
    with pytest.raises(ConfigError, match="needs pictures"):
        list(Corrupted([(torch.zeros(2, 5), torch.zeros(2))], "blur", CORRUPTIONS["blur"], 1))
    with pytest.raises(ConfigError, match="Did you mean 'blur'"):
        corruption_table(["blurr"])


def test_a_users_own_corruption_goes_by_its_name() -> None:
    """Otherwise only our five exist."""

    def darker(given: torch.Tensor, severity: int, generator: torch.Generator) -> torch.Tensor:
        return given - severity

    assert corruption_table([darker, "blur"]) == {"darker": darker, "blur": CORRUPTIONS["blur"]}
