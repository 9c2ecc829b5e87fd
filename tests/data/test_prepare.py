"""Files of other modes are converted on request, to the values that Pillow and arithmetic give."""

import numpy as np
import pytest
from PIL import Image

from dpi.data import Avatars, Folder, memory_map
from dpi.data.prepare import CONVERTED, MODES, prepare
from dpi.errors import UserError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (8, 8, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (8, 8, 1), np.uint8)
GREY = RNG.integers(0, 256, (8, 8), np.uint8)


def converted(image: Image.Image, channels: int) -> np.ndarray:
    """(8, 8, C)"""
    return prepare(image, "it", 8, channels, convert=True).transpose(1, 2, 0)


@pytest.mark.parametrize("channels", MODES)
def test_an_image_of_the_right_mode_stays_as_it_is(channels):
    pixels = RNG.integers(0, 256, (8, 8, channels), np.uint8)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    assert image.mode == MODES[channels]
    for convert in (False, True):
        found = prepare(image, "it", 8, channels, convert)
        assert np.array_equal(found, pixels.transpose(2, 0, 1))
    assert prepare(image, "it", 4, channels, False).shape == (channels, 4, 4)


@pytest.mark.parametrize("mode", CONVERTED)
@pytest.mark.parametrize("channels", MODES)
def test_every_mode_becomes_every_other(mode, channels):
    image = Image.fromarray(RGB).convert("P" if mode == "PA" else mode).convert(mode)
    assert converted(image, channels).shape == (8, 8, channels)


def test_alpha_is_composited_on_white():
    image = Image.fromarray(np.concatenate([RGB, ALPHA], axis=2))
    expected = RGB * (ALPHA / 255) + 255 * (1 - ALPHA / 255)
    assert np.abs(converted(image, 3) - expected).max() <= 1
    clear = Image.fromarray(np.concatenate([RGB, 0 * ALPHA], axis=2))
    assert (converted(clear, 1) == 255).all()
    palette = Image.fromarray(RGB).quantize(4)
    palette.info["transparency"] = bytes(4)
    assert (converted(palette, 3) == 255).all()


def test_greyscale_is_repeated_and_sixteen_bits_are_scaled():
    assert np.array_equal(converted(Image.fromarray(GREY), 3), GREY[..., None].repeat(3, 2))
    wide = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert wide.mode == "I;16"
    assert np.array_equal(converted(wide, 1)[..., 0], GREY)
    assert converted(Image.fromarray(np.full((8, 8), 65535, np.uint16)), 3).min() == 255


@pytest.mark.parametrize("mode", ["I", "F", "HSV", "LAB"])
def test_values_of_an_unknown_range_are_refused(mode):
    with pytest.raises(UserError, match=f"it is {mode}, which data.convert=true does not convert"):
        converted(Image.new(mode, (8, 8)), 3)


def test_the_cache_keeps_channels_and_conversions_apart(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(RGB).save(tmp_path / "images/0.png")
    Image.fromarray(GREY).save(tmp_path / "images/1.png")
    how = [(3, True), (1, True), (4, True)]
    made = [
        memory_map(Folder(tmp_path / "images", 8, *one), tmp_path / "cache", "it") for one in how
    ]
    assert [images.shape[1] for images in made] == [3, 1, 4]
    assert np.array_equal(made[1][1, 0], GREY)
    with pytest.raises(UserError, match=r"1\.png is not RGB but L; .*image_channels=1"):
        memory_map(Folder(tmp_path / "images", 8), tmp_path / "cache", "it")


def test_avatars_are_also_grey():
    colour, grey = Avatars(3, 16), Avatars(3, 16, image_channels=1)
    assert grey.fingerprint != colour.fingerprint
    expected = Image.fromarray(colour[2].transpose(1, 2, 0)).convert("L")
    assert np.array_equal(grey[2], np.asarray(expected)[None])
    with pytest.raises(UserError, match="avatars have 3, or 1"):
        Avatars(3, 16, image_channels=4)
