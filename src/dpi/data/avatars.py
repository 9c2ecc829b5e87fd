"""Cartoon faces, drawn from seeds: pictures to try everything on, without a download."""

import functools
import hashlib
import io
import random
from enum import Enum
from typing import Any

import numpy as np
from PIL import Image

from dpi.errors import UserError

DRAWING = 1
"""Goes up whenever the same seed would give another picture."""

VIEW = "42 22 180 180"
"""The part of the 264 x 280 drawing that a face fills: x, y, width, height."""

BACKGROUNDS = (
    "#65C9FF",
    "#FFD5DC",
    "#D1D4F9",
    "#C0E8B7",
    "#FFEFB5",
    "#5199E4",
    "#F2A65A",
    "#DDDDDD",
)


class Avatars:
    """`count` cartoon faces in the style of avataaars; face i depends on (seed, i) alone.

    Drawn by python_avatars, made pixels by resvg, both offline.

    Args:
        count: how many.
        image_size: side, 8 to 64 pixels.
        seed: of the whole set.

    Raises:
        UserError: count or image_size out of range.
    """

    def __init__(self, count: int, image_size: int, seed: int = 0) -> None:
        if count < 1:
            raise UserError(f"data.count={count}: give the number of avatars, at least 1")
        if not 8 <= image_size <= 64:
            raise UserError(f"image_size={image_size}: avatars are drawn at 8 to 64 pixels")
        self.count, self.image_size, self.seed = count, image_size, seed

    def __len__(self) -> int:
        return self.count

    @property
    def fingerprint(self) -> str:
        words = f"avatars {DRAWING} {self.count} {self.image_size} {self.seed}"
        return hashlib.sha256(words.encode()).hexdigest()

    def __getitem__(self, i: int) -> np.ndarray:
        """Face i: (3, image_size, image_size) uint8."""
        import resvg_py

        # Drawn at twice the size and averaged: at 16 pixels, eyes are smaller than one.
        svg = _svg(random.Random(f"avatar {self.seed} {i}"))
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=2 * self.image_size))
        picture = Image.open(io.BytesIO(png)).convert("RGB").reduce(2)
        return np.asarray(picture).transpose(2, 0, 1)


def _svg(rng: random.Random) -> str:
    import python_avatars as pa

    def pick(words: type[Enum], rare: Any = None, share: float = 0.0) -> Any:
        """One of the words, or `rare` for that share of the faces."""
        options = _options(words)
        return rare if rng.random() < share else rng.choice(options)

    avatar = pa.Avatar(
        style=pa.AvatarStyle.TRANSPARENT,
        top=pick(pa.HairType),
        hat_color=pick(pa.ClothingColor),
        eyebrows=pick(pa.EyebrowType),
        eyes=pick(pa.EyeType),
        nose=pa.NoseType.DEFAULT,
        mouth=pick(pa.MouthType),
        facial_hair=pick(pa.FacialHairType, pa.FacialHairType.NONE, 0.7),
        skin_color=pick(pa.SkinColor),
        hair_color=pick(pa.HairColor),
        facial_hair_color=pick(pa.HairColor),
        accessory=pick(pa.AccessoryType, pa.AccessoryType.NONE, 0.7),
        clothing=pick(pa.ClothingType),
        clothing_color=pick(pa.ClothingColor),
        shirt_graphic=pick(pa.ClothingGraphic),
    )
    x, y, width, height = VIEW.split()
    fill = rng.choice(BACKGROUNDS)
    background = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"/>'
    head, rest = avatar.render().split(">", 1)
    head = head.replace('viewBox="0 0 264 280"', f'viewBox="{VIEW}"')
    head = head.replace('width="264px" height="280px"', f'width="{width}px" height="{height}px"')
    return f"{head}>{background}{rest}"


@functools.cache
def _options(words: type[Enum]) -> list[Enum]:
    # By name, so that an option's place does not hang on the order of its definition.
    return sorted(words, key=lambda word: word.name)
