"""Records in JSON files carry a checksum, so that damaged ones are not read."""

import json
import zlib
from typing import Any

KEY = "crc32"


def with_checksum(record: dict[str, Any]) -> dict[str, Any]:
    """The record and the CRC-32 of its JSON text."""
    return record | {KEY: _checksum(record)}


def without_checksum(record: dict[str, Any]) -> dict[str, Any]:
    """The record that `with_checksum` was given; ValueError if it has changed since."""
    bare = {key: value for key, value in record.items() if key != KEY}
    if record.get(KEY) != _checksum(bare):
        raise ValueError("its checksum is missing or wrong")
    return bare


def _checksum(record: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(record).encode())
