"""Read what W&B wrote for an offline run."""

import json
import struct
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

Values = dict[str, Any]


def read_offline_run(folder: Path) -> tuple[Values, Values, Values]:
    """Return the configuration, the last values of the curves, and the summary.

    Args:
        folder: Run folder with the only offline run in its `wandb/`.
    """
    config: Values = {}
    history: Values = {}
    summary: Values = {}
    for record in read_records(folder):
        for update in [*record.run.config.update, *record.config.update]:
            config[update.key] = json.loads(update.value_json)
        for item in record.history.item:
            history[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        for update in record.summary.update:
            summary[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
    return config, history, summary


def read_records(folder: Path) -> list[wandb_internal_pb2.Record]:
    """Read the records of the only offline run in a folder.

    The file is a LevelDB log: blocks of 32 KiB, with pieces of records that have a checksum, a
    length and a kind each. Kinds 1 and 4 end a record.
    """
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    content = path.read_bytes()
    place = 7  # of the first piece, after W&B's own header
    records = []
    pieces = b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        pieces += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pieces)
            records.append(record)
            pieces = b""
    return records
