"""Records in JSON files carry a checksum, so that damaged ones are not read."""

import json
import zlib
from typing import Any

KEY = "crc32"


def with_checksum(record: dict[str, Any]) -> dict[str, Any]:
    """The record and its checksum."""
    return record | {KEY: checksum(record)}


def without_checksum(record: dict[str, Any]) -> dict[str, Any]:
    """The record that `with_checksum` was given; ValueError if it has changed since."""
    bare = {key: value for key, value in record.items() if key != KEY}
    if record.get(KEY) != checksum(bare):
        raise ValueError("its checksum is missing or wrong")
    return bare


def checksum(record: Any) -> int:
    """The CRC-32 of a record's JSON text."""
    return zlib.crc32(json.dumps(record).encode())
