"""Makes the goldens of GGUF files that lie beside this file.

    python make_gguf.py

with the packages gguf 0.19 and numpy 2. Their reader, writer and dequantization owe nothing to Selvedge's.

`gguf.gguf` has a value of every kind, and a tensor of each type that can be turned into numbers. Quantized tensors have
random codes and random finite scales, so that codes occur that no quantization would choose. `gguf.safetensors` holds
the same tensors as float32, computed in float32.
"""

import json
import struct
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFWriter, quants

HERE = Path(__file__).resolve().parent
# Where the f16 scales of a block lie, in bytes.
SCALES = dict(Q8_0=[0], Q4_0=[0], Q4_1=[0, 2], Q5_0=[0], Q5_1=[0, 2], Q4_K=[0, 2], Q5_K=[0, 2], Q6_K=[208])


def quantized(rng: np.random.Generator, name: str, rows: int) -> np.ndarray:
    """Rows of two blocks, or of one if it is of 256 elements, as bytes."""
    elements, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (rows * (2 if elements == 32 else 1), size), dtype=np.uint8)
    for at in SCALES[name]:
        # One of them subnormal.
        scales = rng.normal(0, 0.3, len(blocks)).astype(np.float16)
        scales[-1] = np.float16(3e-6)
        blocks[:, at : at + 2] = scales[:, None].view(np.uint8)
    return blocks.reshape(rows, -1)


def tensors() -> dict[str, tuple[GGMLQuantizationType, np.ndarray]]:
    rng = np.random.default_rng(1)
    wide = (rng.normal(size=(2, 3, 5)) * 10.0 ** rng.integers(-7, 4, (2, 3, 5))).astype(np.float32)
    bits = wide.astype(np.float32).view(np.uint32) >> 16
    found = {
        "F32": (GGMLQuantizationType.F32, wide),
        "F16": (GGMLQuantizationType.F16, wide.astype(np.float16)),
        "BF16": (GGMLQuantizationType.BF16, bits.astype("<u2").view(np.uint8).reshape(2, 3, 10)),
    }
    for name in SCALES:
        found[name] = (GGMLQuantizationType[name], quantized(rng, name, 2))
    return found


def save_safetensors(path: Path, arrays: dict[str, np.ndarray]) -> None:
    header, data = {}, b""
    for name, array in arrays.items():
        raw = array.astype("<f4").tobytes()
        header[name] = dict(dtype="F32", shape=array.shape, data_offsets=[len(data), len(data) + len(raw)])
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main() -> None:
    path = HERE / "gguf.gguf"
    writer = GGUFWriter(path, "golden")
    writer.add_uint8("kind.u8", 200)
    writer.add_int8("kind.i8", -100)
    writer.add_uint16("kind.u16", 60000)
    writer.add_int16("kind.i16", -30000)
    writer.add_uint32("kind.u32", 4000000000)
    writer.add_int32("kind.i32", -2000000000)
    writer.add_float32("kind.f32", 0.1)
    writer.add_bool("kind.bool", True)
    writer.add_string("kind.string", "žluťoučký kůň")
    writer.add_uint64("kind.u64", 2**63 + 1)
    writer.add_int64("kind.i64", -(2**62))
    writer.add_float64("kind.f64", 0.1)
    writer.add_array("array.strings", ["a", "<unk>", "Ġčaj", "b\nc"])
    writer.add_array("array.i32", [1, -2, 3])
    writer.add_array("array.f32", [0.5, -1e10])
    writer.add_array("array.bool", [True, False])
    for name, (kind, array) in tensors().items():
        writer.add_tensor(f"tensor.{name}", array, raw_dtype=None if name in ("F32", "F16") else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    numbers = {}
    for tensor in GGUFReader(path).tensors:
        # The reader's dimensions are those of the file, the fastest first.
        array = quants.dequantize(tensor.data, tensor.tensor_type)
        assert array.dtype == np.float32 and np.isfinite(array).all()
        numbers[tensor.name] = array.reshape(tensor.shape[::-1].tolist())
    save_safetensors(HERE / "gguf.safetensors", numbers)


if __name__ == "__main__":
    main()
