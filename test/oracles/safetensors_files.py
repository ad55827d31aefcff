"""Writes and checks the fixtures of engine/checkpoints/safetensors with the official library.

Run from the repository root:  python test/oracles/safetensors_files.py

- official.safetensors, official.json: a file by the official writer, and what it holds.
- hostile.json: damaged files, and whether the official reader takes them.
- quantloom.safetensors (written by serializeSafetensors, see serialize-safetensors.test.ts) is read back and compared.
"""

import base64
import json
import struct

import torch
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.torch import save

FIXTURES = "engine/checkpoints/safetensors/fixtures/"


def write_official():
    tensors = {
        "bool": torch.tensor([True, False, True]),
        "u8": torch.tensor([0, 255], dtype=torch.uint8),
        "i8": torch.tensor([-128, 127], dtype=torch.int8),
        "e4m3": torch.tensor([0.5, -448.0]).to(torch.float8_e4m3fn),
        "e5m2": torch.tensor([0.5]).to(torch.float8_e5m2),
        "u16": torch.tensor([65535], dtype=torch.uint16),
        "i16": torch.tensor([-32768], dtype=torch.int16),
        "f16": torch.tensor([[1.5, -2.0, 65504.0]], dtype=torch.float16),
        "bf16.b": torch.tensor([[1.5], [-2.0]], dtype=torch.bfloat16),
        "bf16.a": torch.tensor([3.0], dtype=torch.bfloat16),
        "u32": torch.tensor([2**32 - 1], dtype=torch.uint32),
        "i32": torch.arange(-3, 3, dtype=torch.int32).reshape(2, 3),
        "f32": torch.tensor([0.1, -0.0]),
        "f64": torch.tensor(0.1, dtype=torch.float64),
        "i64": torch.tensor([-(2**63)], dtype=torch.int64),
        "u64": torch.tensor([2**63], dtype=torch.uint64),
        "empty": torch.zeros(0, 3),
        # The order of UTF-8 bytes is not that of UTF-16 units.
        "\ufb01": torch.tensor([1.0]),
        "\U0001f9f6": torch.tensor([2.0]),
        'quote " backslash \\ newline \n': torch.tensor([3.0]),
    }
    data = save(tensors, {"format": "pt"})
    with open(FIXTURES + "official.safetensors", "wb") as file:
        file.write(data)
    content = {
        name: {"dtype": entry["dtype"], "shape": list(entry["shape"]), "data": bytes(entry["data"]).hex()}
        for name, entry in deserialize(data)
    }
    with open(FIXTURES + "official.json", "w") as file:
        file.write(json.dumps(dict(sorted(content.items())), indent=1) + "\n")


def framed(header, data=b"", length=None):
    header = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(name="a", dtype='"U8"', shape="[4]", offsets="[0,4]", more=""):
    return f'"{name}":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}{more}}}'


def hostile_files():
    def one(data=b"1234", **fields):
        return framed("{" + entry(**fields) + "}", data)

    def two(first, second, data=b"12345678"):
        return framed("{" + entry("a", offsets=first) + "," + entry("b", offsets=second) + "}", data)

    good = one()
    nested = "[" * 100000
    return {
        "a good file": good,
        "spaces inside and after the header": framed(' {  "a" :{"shape":[4], "data_offsets":[0,4],\n"dtype":"U8"}}  \t\n', b"1234"),
        "no tensors": framed("{}"),
        "metadata that is null": framed('{"__metadata__":null,' + entry() + "}", b"1234"),
        "escapes in a name": one(name="\\u0061\\n\\ud83e\\uddf6"),
        "empty tensors before and after another": framed(
            "{" + entry("a", shape="[0]", offsets="[4,4]") + "," + entry("b") + "," + entry("c", shape="[0,9]", offsets="[0,0]") + "}", b"1234"
        ),
        "a scalar": one(shape="[]", offsets="[0,1]", data=b"1"),
        "an empty file": b"",
        "seven bytes": good[:7],
        "only a length": good[:8],
        "cut inside the header": good[:20],
        "cut inside the data": good[:-1],
        "one byte too many": good + b"!",
        "length beyond the file": framed("{" + entry() + "}", b"1234", length=10000),
        "length over the limit": framed("{" + entry() + "}", b"1234", length=100_000_001),
        "length 2^64 - 1": framed("{" + entry() + "}", b"1234", length=2**64 - 1),
        "length zero": framed("", b"1234"),
        "not UTF-8": framed(b'{"\xff\xfe":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"1234"),
        "a byte order mark": framed("\ufeff{" + entry() + "}", b"1234"),
        "not JSON": framed("hello"),
        "a list": framed("[]"),
        "null": framed("null"),
        "a NUL after the header": framed("{" + entry() + "}\0", b"1234"),
        "a trailing comma": framed("{" + entry() + ",}", b"1234"),
        "deep nesting": framed('{"a":' + nested),
        "deep nesting in an unknown field": framed("{" + entry(more=',"x":' + nested), b"1234"),
        "half a surrogate pair in a name": one(name="\\ud83e"),
        "a raw newline in a name": one(name="a\n"),
        "an unfinished string": framed('{"a'),
        "an unfinished escape": framed('{"a\\'),
        "the same field twice": one(more=',"dtype":"U8"'),
        "no dtype": framed('{"a":{"shape":[4],"data_offsets":[0,4]}}', b"1234"),
        "no shape": framed('{"a":{"dtype":"U8","data_offsets":[0,4]}}', b"1234"),
        "no data_offsets": framed('{"a":{"dtype":"U8","shape":[4]}}', b"1234"),
        "a tensor that is a number": framed('{"a":1}', b"1234"),
        "an unknown dtype": one(dtype='"F31"'),
        "a dtype named like a method": one(dtype='"toString"'),
        "a dtype that is a number": one(dtype="8"),
        "a negative dimension": one(shape="[-4]"),
        "two negative dimensions": one(shape="[-2,-2]"),
        "a fractional dimension": one(shape="[4.0]"),
        "a dimension as exponent": one(shape="[4e0]"),
        "a dimension with a leading zero": one(shape="[04]"),
        "a dimension that is a string": one(shape='["4"]'),
        "a dimension that is null": one(shape="[null]"),
        "a shape that is a number": one(shape="4"),
        "a shape that overflows": one(shape="[4294967296,4294967296,4294967296]"),
        "a shape that overflows to 4": one(shape="[4611686018427387905,4]"),
        "a dimension of 2^64": one(shape="[18446744073709551616]"),
        "a dimension of 400 digits": one(shape="[" + "9" * 400 + "]"),
        "one offset": one(offsets="[0]"),
        "three offsets": one(offsets="[0,4,4]"),
        "negative offsets": one(offsets="[-4,0]"),
        "begin after end": one(offsets="[4,0]"),
        "end beyond the data": one(shape="[5]", offsets="[0,5]"),
        "offsets beyond 2^53": one(offsets="[9007199254740993,9007199254740997]"),
        "size smaller than the shape": one(shape="[8]"),
        "size larger than the shape": one(shape="[3]"),
        "size of another dtype": one(dtype='"F32"'),
        "the same bytes twice": two("[0,4]", "[0,4]", b"1234"),
        "overlap": two("[0,4]", "[2,6]", b"123456"),
        "a hole": two("[0,4]", "[5,9]", b"123456789"),
        "a hole at the start": one(offsets="[1,5]", data=b"12345"),
        "metadata with a number": framed('{"__metadata__":{"a":1},' + entry() + "}", b"1234"),
        "metadata with an object": framed('{"__metadata__":{"a":{}},' + entry() + "}", b"1234"),
        "metadata that is a string": framed('{"__metadata__":"a",' + entry() + "}", b"1234"),
        "metadata that is a tensor": one(name="__metadata__"),
        "the same tensor twice": framed("{" + entry() + "," + entry() + "}", b"1234"),
        "the same tensor twice, once escaped": framed("{" + entry() + "," + entry("\\u0061") + "}", b"1234"),
        "an unknown field": one(more=',"compression":"zip"'),
        "a tensor as a list": framed('{"a":["U8",[4],[0,4]]}', b"1234"),
        "a tensor named __proto__": one(name="__proto__"),
        "a tensor named constructor": one(name="constructor"),
        "65 dimensions": one(shape="[4" + ",1" * 64 + "]"),
    }


def write_hostile():
    cases = []
    for name, data in hostile_files().items():
        try:
            deserialize(data)
            accepted = True
        except (SafetensorError, OverflowError):
            accepted = False
        if len(data) > 10000:
            # Repetition is spelled out by the test.
            data = data.replace(b"[" * 100000, b"@NESTED@")
        cases.append({"name": name, "file": base64.b64encode(data).decode(), "official": "accepts" if accepted else "refuses"})
    with open(FIXTURES + "hostile.json", "w") as file:
        file.write(json.dumps(cases, indent=1) + "\n")


def check_quantloom():
    with safe_open(FIXTURES + "quantloom.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "quantized by": "quantloom \u2713"}, file.metadata()
        expected = {
            "layer.scales": torch.tensor([[0.5, -1.0], [65504.0, 2.0**-24]], dtype=torch.float16),
            "layer.norm": torch.tensor([1.5, -3.0, 2.0], dtype=torch.bfloat16),
            "layer.qweight": torch.tensor([[-1, 2**31 - 1, -(2**31)]], dtype=torch.int32),
            "layer.\u00fc": torch.arange(5, dtype=torch.uint8),
            "steps": torch.tensor(-2, dtype=torch.int64),
            "none": torch.zeros(0, 4),
        }
        assert sorted(file.keys()) == sorted(expected)
        for name, value in expected.items():
            found = file.get_tensor(name)
            assert found.dtype == value.dtype and found.shape == value.shape and torch.equal(found, value), name
    print("quantloom.safetensors: read back by the official library, all equal")


write_official()
write_hostile()
check_quantloom()
