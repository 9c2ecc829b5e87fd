"""Cartoon faces generated from seeds: a data set for trying things out, without a download."""

import hashlib
import io
import random
from enum import Enum
from typing import Any

import numpy as np
from PIL import Image

from dpi.data.prepare import prepare
from dpi.errors import UserError

DRAWING = 1
"""Version of the drawing, part of the fingerprint; increased when the images change."""

VIEW = "42 22 180 180"
"""The region of the 264 x 280 drawing that shows the face: x, y, width, height."""

BACKGROUNDS = ("65C9FF", "FFD5DC", "D1D4F9", "C0E8B7", "FFEFB5", "5199E4", "F2A65A", "DDDDDD")
"""Colours, red, green and blue in hexadecimal digits."""


class Avatars:
    """Cartoon faces in the style of avataaars; image i is a function of (seed, i) alone.

    Drawn by python_avatars and rasterized by resvg, both offline.

        >>> Avatars(count=4096, image_size=16)[0].shape
        (3, 16, 16)

    Args:
        count: number of images, at least 1.
        image_size: height and width, 8 to 64 pixels.
        seed: seed of the data set.
        image_channels: 3, or 1 for greyscale.

    Raises:
        UserError: image_size or image_channels out of range.
    """

    def __init__(self, count: int, image_size: int, seed: int = 0, image_channels: int = 3) -> None:
        if not 8 <= image_size <= 64:
            raise UserError(f"image_size={image_size}: out of range for avatars; give 8 to 64")
        if image_channels not in (1, 3):
            raise UserError(f"image_channels={image_channels}: avatars have 3, or 1 for greyscale")
        self.count, self.image_size, self.seed = count, image_size, seed
        self.image_channels = image_channels

    def __len__(self) -> int:
        return self.count

    @property
    def fingerprint(self) -> str:
        """Hash of the arguments and the version of the drawing."""
        key = f"avatars {DRAWING} {self.count} {self.image_size} {self.seed}"
        key += " greyscale" * (self.image_channels == 1)
        return hashlib.sha256(key.encode()).hexdigest()

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i, shape (image_channels, image_size, image_size), uint8."""
        import resvg_py

        # Supersampled by 2 and averaged: at 16 pixels, eyes are smaller than a pixel.
        svg = _svg(random.Random(f"avatar {self.seed} {i}"))
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=2 * self.image_size))
        image = Image.open(io.BytesIO(png)).convert("RGB").reduce(2)
        return prepare(image, f"avatar {i}", self.image_size, self.image_channels, True)


def _svg(rng: random.Random) -> str:
    import python_avatars as pa

    def pick(options: type[Enum], default: Any = None, probability: float = 0.0) -> Any:
        """The default with the given probability, else one of the options."""
        # By name, so that a choice does not depend on the order of their definition.
        members = sorted(options, key=lambda member: member.name)
        return default if rng.random() < probability else rng.choice(members)

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
    background = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="#{fill}"/>'
    head, rest = avatar.render().split(">", 1)
    head = head.replace('viewBox="0 0 264 280"', f'viewBox="{VIEW}"')
    head = head.replace('width="264px" height="280px"', f'width="{width}px" height="{height}px"')
    return f"{head}>{background}{rest}"
