"""Makes the GGUF files that lie beside this file: two that can be read, and one for each way of being wrong.

    python make.py

with Python's standard library alone. What is to be said of each file is in `it/gguf/corpus.rs`.
"""

from pathlib import Path
from struct import pack

HERE = Path(__file__).resolve().parent
U32, BOOL, STRING, ARRAY = 4, 7, 8, 9
F32, Q8_0 = 0, 8


def string(text: str | bytes) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return pack("<Q", len(raw)) + raw


def key(name: str | bytes, kind: int, value: bytes) -> bytes:
    return string(name) + pack("<I", kind) + value


def tensor(name: str, dimensions: list[int], kind: int, offset: int) -> bytes:
    sizes = pack(f"<{len(dimensions)}Q", *dimensions)
    return string(name) + pack("<I", len(dimensions)) + sizes + pack("<IQ", kind, offset)


def file(keys: list[bytes] = (), tensors: list[bytes] = (), data: int = 0, counts=None, version: int = 3) -> bytes:
    """A file with `data` bytes of tensors. `counts` are those of tensors and keys, where they are not the true ones."""
    counts = counts or (len(tensors), len(keys))
    head = b"GGUF" + pack("<IQQ", version, *counts) + b"".join([*keys, *tensors])
    return head + b"\0" * (-len(head) % 32) + bytes(i % 251 for i in range(data)) if data else head


NAME = key("general.name", STRING, string("x"))
HUGE = 2**64 - 1

FILES = {
    "valid": file([NAME, key("a.b", ARRAY, pack("<IQ", U32, 2) + pack("<II", 1, 2))], [tensor("t", [4, 2], F32, 0)], 32),
    "unknown_type": file([NAME], [tensor("t", [4], 99, 0), tensor("u", [4], F32, 0)], 16),
    "empty": b"",
    "magic": b"GGML" + bytes(20),
    "big_endian": b"GGUF" + pack(">IQQ", 3, 0, 0),
    "version_1": b"GGUF" + pack("<III", 1, 0, 0),
    "version_4": file(version=4),
    "tensors_huge": file(counts=(HUGE, 0)),
    "tensors_beyond_the_file": file([NAME], counts=(1000, 1)),
    "keys_huge": file(counts=(0, HUGE)),
    "keys_beyond_the_file": file([NAME], counts=(0, 3)),
    "key_longer_than_the_file": file([pack("<Q", 60000) + b"general.name" + bytes(8)]),
    "key_longer_than_the_limit": file([pack("<Q", HUGE) + b"general.name" + bytes(8)]),
    "key_empty": file([key("", U32, pack("<I", 1))]),
    "key_not_utf8": file([key(b"ab\xffc", U32, pack("<I", 1))]),
    "key_twice": file([NAME, key("a", U32, pack("<I", 1)), NAME]),
    "kind_unknown": file([key("a", 13, pack("<I", 1))]),
    "bool": file([key("a", BOOL, b"\2")]),
    "value_cut": file([key("a.b.c", STRING, string("a long name"))])[:-4],
    "array_huge": file([key("a", ARRAY, pack("<IQ", U32, HUGE))]),
    "array_of_strings_huge": file([key("a", ARRAY, pack("<IQ", STRING, 2**32))]),
    "array_deep": file([key("a", ARRAY, pack("<IQ", ARRAY, 1) * 50)]),
    "alignment_12": file([key("general.alignment", U32, pack("<I", 12))]),
    "alignment_4": file([key("general.alignment", U32, pack("<I", 4))]),
    "alignment_kind": file([key("general.alignment", STRING, string("32"))]),
    "tensor_twice": file([], [tensor("t", [4], F32, 0), tensor("t", [4], F32, 32)], 48),
    "tensor_name_long": file([], [tensor("t" * 65, [4], F32, 0)], 16),
    "dimensions_0": file([], [tensor("t", [], F32, 0) + bytes(8)], 16),
    "dimensions_5": file([], [tensor("t", [1, 1, 1, 1, 1], F32, 0)], 16),
    "dimension_zero": file([], [tensor("t", [4, 0], F32, 0)], 16),
    "elements_overflow": file([], [tensor("t", [2**40, 2**40], F32, 0)], 16),
    "bytes_overflow": file([], [tensor("t", [2**62, 2], F32, 0)], 16),
    "row_of_half_a_block": file([], [tensor("t", [48, 2], Q8_0, 0)], 102),
    "offset_misaligned": file([], [tensor("t", [4], F32, 8)], 24),
    "offset_huge": file([], [tensor("t", [4], F32, 2**64 - 32)], 16),
    "tensor_cut": file([], [tensor("t", [4], F32, 0)], 15),
    "tensors_overlap": file([], [tensor("t", [4], F32, 32), tensor("u", [9], F32, 0)], 64),
}


def main() -> None:
    for name, raw in FILES.items():
        assert len(raw) < 1024
        (HERE / f"{name}.gguf").write_bytes(raw)


if __name__ == "__main__":
    main()
