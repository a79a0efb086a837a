"""A bench measures what it says, side by side."""

import json

import pytest
import torch
from torch import nn

from lomt.evaluation.backends import BACKENDS, Contender, NotMadeFor, onnx_session
from lomt.evaluation.bench import Bench, Memory, Size, Timing, bench
from lomt.evaluation.bench_table import bench_table

EXAMPLE = torch.zeros(2, 3, 8, 8)


class Seen(nn.Module):
    """Notes what it is given."""

    def __init__(self, seen):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.seen = seen

    def forward(self, x):
        last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        self.seen.append((len(x), x.dtype, last, torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return self.conv(x)

    def __deepcopy__(self, memo):
        copy = Seen(self.seen)  # the same notebook
        copy.load_state_dict(self.state_dict())
        return copy


class Only32(nn.Module):
    def forward(self, x):
        if x.dtype != torch.float32:
            raise RuntimeError("float32 only")
        return x


@pytest.fixture(scope="module")
def measured():
    seen = []
    network = Seen(seen)
    models = {"net": Contender(network, delta_m=3.0), "picky": Contender(Only32())}
    found = bench(models, EXAMPLE, batches=(1, 2), threads=(1, 2), repeats=21, warmup=1, progress=False)
    return found, seen, network


def test_every_setting_is_measured_with_what_it_says(measured):
    found, seen, network = measured
    assert {row[:2] for row in seen if not row[2]} == {
        (batch, dtype) for batch in (1, 2) for dtype in (torch.float32, torch.bfloat16)
    }
    assert {row[3] for row in seen} == {1, 2}
    assert any(row[2] and row[1] == torch.float32 for row in seen)
    assert all(row[4] for row in seen[1:])  # the first one counts multiply-accumulates
    settings = {(one.backend, one.batch, one.threads) for one in found.timings if one.model == "net"}
    assert settings == {(b, n, t) for b in ("eager", "channels_last", "bf16") for n in (1, 2) for t in (1, 2)}
    assert all(0 < one.median <= one.p95 and one.repeats == 21 for one in found.timings)
    assert next(network.parameters()).dtype == torch.float32
    assert found.models["net"] == Size(108, 108 * 36, 3.0)
    weights = {(one.backend, one.weights) for one in found.memory if one.model == "net"}
    assert weights == {("eager", 432), ("channels_last", 432), ("bf16", 216)}


def test_what_can_not_run_is_said_and_stops_nothing(measured):
    found, _, _ = measured
    assert found.failures == {"picky, bf16": "float32 only"}
    assert {one.backend for one in found.timings if one.model == "picky"} == {"eager", "channels_last"}
    assert "picky, bf16: not measured – float32 only" in bench_table(found)


def test_json_holds_everything(measured):
    found, _, _ = measured
    assert Bench.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert {"processor", "torch", "date", "load"} <= found.machine.keys()


def test_table_says_medians_percentiles_and_few_repeats():
    found = Bench(
        {"a": Size(1_200_000, 25_000_000, 4.25), "b.onnx": Size(None, None, None)},
        (3, 8, 8),
        [
            Timing("a", "eager", 1, 1, 12.34, 15.6, 50),
            Timing("a", "bf16", 1, 1, 250.0, None, 5),
            Timing("b.onnx", "onnxruntime", 1, 1, 5.0, 6.0, 50),
        ],
        [Memory("a", "eager", 1, 4_000_000, 6_000_000), Memory("a", "bf16", 1, 2_000_000, None)],
    )
    lines = bench_table(found).splitlines()
    assert (
        "Δm [%] ↑ | parameters ↓ | MACs ↓ | peak memory [MB] ↓, batch 1 | latency [ms] ↓, batch 1, 1 thread" in lines[0]
    )
    assert lines[2] == "| a | eager | +4.2 | 1.20 M | 25.0 M | 10.0 | 12.3 (15.6) |"
    assert lines[3] == "| a | bf16 | +4.2 | 1.20 M | 25.0 M | – | 250, 5 passes |"
    assert lines[4] == "| b.onnx | onnxruntime | – | – | – | – | 5.00 (6.00) |"


def test_few_passes_have_no_percentile():
    found = bench({"a": Contender(nn.Identity())}, EXAMPLE, backends=["eager"], repeats=19, warmup=1, progress=False)
    assert {one.p95 for one in found.timings} == {None}


@pytest.mark.parametrize(
    ("models", "arguments", "words"),
    [
        ({}, {}, "no models"),
        ({"a": Contender(nn.Identity())}, {"backends": ["tensorrt"]}, "unknown backend 'tensorrt'.*onnxruntime"),
        ({"a": Contender(nn.Identity())}, {"batches": [0]}, "use 1 or more"),
        ({"a": Contender(nn.Identity())}, {"backends": []}, "give one of each"),
    ],
)
def test_nonsense_is_refused(models, arguments, words):
    with pytest.raises(ValueError, match=words):
        bench(models, EXAMPLE, **arguments)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*net\.onnx"):
        onnx_session(tmp_path / "net.onnx")
    (tmp_path / "net.onnx").write_text("no protobuf")
    with pytest.raises(ValueError, match="can't be opened as an ONNX file"):
        onnx_session(tmp_path / "net.onnx")
    for backend in BACKENDS.values():
        with pytest.raises(NotMadeFor):
            backend(Contender(), 1)
