"""What a filter by a list of numbers costs, beside one by a list of strings.

    python tests/benchmarks/filters.py [--records N] [--json FILE] [--check]

The same records are counted by lists of 10, 100 and 700 of their integers: as the filters of this package ask for them
(`colbert_qdrant.collection.conditions.one_of`, to which 1 is 1.0), by ``MatchAny``, which knows integers only, and by a
range for each, which is how equality with a number is asked for; and by as many strings. No field is indexed. Shown
are milliseconds of processor time, the best of three.

``--check``: a list of 700 takes the embedded engine at most a tenth of what a range for each takes.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import models

from colbert_qdrant import MultivectorCollection
from colbert_qdrant.collection import conditions

SIZES = (10, 100, 700)
NUMBER, STRING = "metadata.number", "metadata.string"
MOST_OF_RANGES = 0.1


class Constant:
    """Vectors are not what is measured."""

    model_name, dim = "constant", 4

    def embed(self, documents: Iterable[str]) -> list[np.ndarray]:
        return [np.full((1, self.dim), 0.5, dtype=np.float32) for _ in documents]

    query_embed = embed


@dataclass(frozen=True)
class Row:
    """Milliseconds of counting by a list."""

    engine: str
    values: int
    one_of: float
    match_any: float
    ranges: float
    strings: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=5_000, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail where a list costs more than claimed")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        rows = [*measure("embedded", arguments.records, path=folder), *measure("memory", arguments.records)]
    print(f"| engine | values | one_of, ms | MatchAny, ms | a range each, ms | strings, ms |\n{'|---' * 6}|")
    for row in rows:
        times = (row.one_of, row.match_any, row.ranges, row.strings)
        print(f"| {row.engine} | {row.values} | {' | '.join(f'{ms:,.0f}' for ms in times)} |")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    if arguments.check:
        [longest] = [row for row in rows if row.engine == "embedded" and row.values == SIZES[-1]]
        if longest.one_of > MOST_OF_RANGES * longest.ranges:
            sys.exit(f"one_of takes {longest.one_of:.0f} ms, a range each {longest.ranges:.0f}")


def measure(engine: str, records: int, **place: Any) -> Iterable[Row]:
    """Count the records of a new collection by each size of list."""
    with MultivectorCollection("filters", Constant(), **place) as collection:
        numbers = range(records)
        metadatas = [{"number": number, "string": str(number)} for number in numbers]
        collection.add(map(str, numbers), metadatas, numbers, show_progress=False)
        for size in SIZES:
            some = random.Random(size).sample(numbers, size)
            each = models.Filter(should=[conditions.equal(NUMBER, number) for number in some])
            known = models.FieldCondition(key=NUMBER, match=models.MatchAny(any=some))
            yield Row(
                engine,
                size,
                one_of=milliseconds(collection, conditions.one_of(NUMBER, some), size),
                match_any=milliseconds(collection, known, size),
                ranges=milliseconds(collection, each, size),
                strings=milliseconds(collection, conditions.one_of(STRING, map(str, some)), size),
            )


def milliseconds(collection: MultivectorCollection, condition: models.Condition, expected: int) -> float:
    """Return the processor time of a count, the best of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        counted = collection.count(models.Filter(must=[condition]))
        times.append(time.process_time() - start)
        assert counted == expected
    return 1_000 * min(times)


if __name__ == "__main__":
    main()
