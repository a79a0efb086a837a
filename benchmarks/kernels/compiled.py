"""What the GPU kernels compile to, without a GPU: registers, spills, shared memory, 64-bit offsets.

    python -m benchmarks.kernels.compiled            # the table
    python -m benchmarks.kernels.compiled --json FILE

Triton's kernels are compiled for sm_80 and sm_90 by Triton, the CUDA kernels by nvcc; cuobjdump reads both.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
ARCHITECTURES = (80, 90)
SPILLS = {"triton": 1, "cuda": 0}
"""Stores of a register that are let pass: ptxas saves one now and then, once, to stay below a limit of its own."""
INSTRUCTIONS = {
    "wgmma": r"wgmma\.mma_async",
    "mma": r"\bmma\.sync",
    "async_16": r"cp\.async\.c[ag]\.shared\.global[^;]*, (?:0x10|16)\b",
    "vectors": r"(?:ld|st)\.global\S*\.v4",
}
"""Products of tensor cores, and transfers of 16 bytes, as they are written in PTX."""
TYPES = {"f": "float", "d": "double"}
KERNEL = re.compile(r"\d([a-z_]+_kernel)(?:I(?:NS_\d+(One[A-Za-z]+?)I)?(?:(?:N4lomt|NS_)?\d*([A-Za-z]\w*?))E)?")
"""A kernel's name as the linker knows it: its own, the optimizer's, the weights' type."""
RESOURCES = re.compile(r"Function ([\w.$]+):\s*\n?\s*REG:(\d+) STACK:\d+ SHARED:(\d+)")


def triton_kernels() -> Iterator[dict[str, Any]]:
    """Each Triton kernel of each operation, for float32 and bfloat16, for each architecture."""
    from lomt_kernels.prox import triton as prox
    from lomt_kernels.shrink import triton as shrink

    integers = {"outer_stride": "i64", "in_part": "i32", "members": "i32", "row_stride": "i32", "run": "i32"}
    cases = []
    for dtype in ("fp32", "bf16"):
        norms = {"weight": f"*{dtype}", "out": "*fp32", **integers}
        cases.append((shrink._norms_kernel, dtype, norms, {"ALIVE": False}))
        cases.append((shrink._norms_kernel, dtype, norms | {"out": "*i1"}, {"ALIVE": True}))
        for metric in (False, True):
            tensors = {
                "weight": f"*{dtype}",
                "metric": "*fp32",
                "tau": "*fp64",
                "start": "*fp32",
                "out": f"*{dtype}",
                "theta_out": "*fp32",
            }
            shrunk = tensors | integers | {"tau_step": "i32", "tolerance": "fp32"}
            cases.append((shrink._shrink_kernel, dtype, shrunk, {"METRIC": metric, "START": metric}))
            tensors = {
                "grad": f"*{dtype}",
                "weight": f"*{dtype}",
                "metric": "*fp32",
                "tau": "*fp64",
                "theta_in": "*fp32",
            }
            tensors |= {"out": f"*{dtype}", "grad_tau": "*fp32", "grad_metric": "*fp32"}
            cases.append((shrink._backward_kernel, dtype, tensors | integers | {"tau_step": "i32"}, {"METRIC": metric}))
        everything = {"norms": "*fp32", "computed": "*i1", "lr_tensor": "*fp32", "grad_scale": "*fp32"}
        everything |= {"found_inf": "*fp32", "count": "i32", **integers}
        numbers = dict.fromkeys(("price", "sign", "lr", "weight_decay", "gamma"), "fp64")
        for kernel, moments, own, flags in (
            (prox._adamw_kernel, ("first_moment", "second", "greatest"), ("beta1", "beta2", "eps"), {}),
            (prox._sgd_kernel, ("buffer",), ("momentum", "dampening"), {"NESTEROV": True}),
        ):
            signature = dict.fromkeys(("weight", "grad", *moments), f"*{dtype}") | {"steps": "*fp32", "fresh": "i32"}
            signature |= everything | numbers | dict.fromkeys(own, "fp64")
            signature = {name: signature[name] for name in kernel.arg_names if name in signature}
            cases.append((kernel, dtype, signature, {**flags, "CONCAVE": True}))
            # As it is used as a rule: nothing that need not be there.
            nothing = dict.fromkeys(("greatest", "computed", "lr_tensor", "grad_scale", "found_inf"))
            nothing = {name: None for name in nothing if name in signature}
            cases.append((kernel, dtype, signature, {**nothing, **dict.fromkeys(flags, False), "CONCAVE": False}))
    for kernel, dtype, signature, constants in cases:
        for run in (9, 4608):
            of_a_step = "CONCAVE" in constants
            many, members = prox.blocks(run, constants["CONCAVE"]) if of_a_step else shrink.blocks(run)
            yield from _compiled(kernel, dtype, signature, constants | {"GROUPS": many, "MEMBERS": members})
    yield from conv_kernels()
    yield from ffn_kernels()


def conv_kernels() -> Iterator[dict[str, Any]]:
    """The channel-masked convolution's, with ``mma`` and ``wgmma`` instructions and 16-byte transfers counted."""
    import torch

    from lomt_kernels.conv import triton as conv
    from lomt_kernels.conv import triton_kernels as kernels

    any_, channels, pixels = kernels.ANY.value, kernels.CHANNELS.value, kernels.ALIGNED_PIXELS.value
    products = {"lists": "i32", "biases": "fp32", **dict.fromkeys(("scale", "shift", "partial", "raw"), "fp32")}
    products |= dict.fromkeys(("row_indices", "row_count", "col_indices", "col_count", "indices"), "i32")
    products |= dict.fromkeys(("in_indices", "in_count", "out_indices", "out_count"), "i32")
    of_maps = ("source", "target", "target1", "target2", "target3", "packed", "weight", "bias", "x", "grad")

    def compiled(kernel: Any, dtype: str, constants: dict[str, Any], **options: int) -> Iterator[dict[str, Any]]:
        types = {**products, **dict.fromkeys(of_maps, dtype)}
        signature = {name: f"*{types[name]}" if name in types else "i32" for name in kernel.arg_names}
        return _compiled(kernel, dtype, signature, constants, **options)

    for dtype, precision in (("bf16", "ieee"), ("fp32", "ieee"), ("fp32", "tf32")):
        torch_dtype = torch.bfloat16 if dtype == "bf16" else torch.float32
        shape = conv.product_tiles(torch_dtype, precision, 256, 256, 1 << 17, 132)
        small = conv.product_tiles(torch_dtype, precision, 256, 256, 1 << 10, 132)
        tiles = {"BM": shape.m, "BN": shape.n, "BK": shape.k, "PRECISION": precision}
        options = {"num_warps": shape.warps, "num_stages": shape.stages}
        tap = {"KH": 1, "KW": 1, "INSIDE": True}
        taps = {"KH": 3, "KW": 3, "INSIDE": False}
        flags = {"BACK": False, "ADD": False, "READERS": 1, "target1": None, "target2": None, "target3": None}
        last = {"FROM": channels, "TO": channels}
        yield from compiled(kernels.product_kernel, dtype, {**flags, **last, **taps, **tiles}, **options)
        back = flags | {"BACK": True, "biases": None}
        weights = conv.weight_tiles(torch_dtype, precision, 256, 256)
        sums = {"BO": weights.m, "BC": weights.n, "BP": weights.k, "PRECISION": precision}
        of_weights = {"num_warps": weights.warps, "num_stages": weights.stages}
        yield from compiled(kernels.weight_kernel, dtype, {**last, **taps, **sums}, **of_weights)
        if dtype == "bf16":
            others = flags | {"READERS": 4}
            others = {name: value for name, value in others.items() if value is not None}
            yield from compiled(kernels.product_kernel, dtype, {**others, **last, **taps, **tiles}, **options)
            yield from compiled(kernels.product_kernel, dtype, {**flags, **last, **tap, **tiles}, **options)
            yield from compiled(kernels.product_kernel, dtype, {**back, **last, **taps, **tiles}, **options)
            added = back | {"ADD": True}
            yield from compiled(kernels.product_kernel, dtype, {**added, **last, **taps, **tiles}, **options)
            planes = {"FROM": pixels, "TO": pixels}
            yield from compiled(kernels.product_kernel, dtype, {**flags, **planes, **tap, **tiles}, **options)
            yield from compiled(kernels.weight_kernel, dtype, {**planes, **tap, **sums}, **of_weights)
            anyhow = {"FROM": any_, "TO": any_}
            tiles |= {"BM": small.m, "BN": small.n, "BK": small.k}
            options = {"num_warps": small.warps, "num_stages": small.stages}
            yield from compiled(kernels.product_kernel, dtype, {**flags, **anyhow, **taps, **tiles}, **options)
        if precision == "tf32":
            continue
        sizes = {"KH": 3, "KW": 3, "BLOCK": 256}
        packs = {"SCALES_ROWS": True, "DEAD_ZERO": False, "ROWS": shape.k, "COLS": shape.n}
        yield from compiled(kernels.pack_kernel, dtype, {**packs, **sizes}, num_warps=8)
        yield from compiled(kernels.reduce_kernel, dtype, {"RANKED": True, "LAST": False, **sizes})
        plain = {"BACK": True, "ADD": False, "DEAD_ZERO": True, "KH": 3, "KW": 3, "BM": 8, "BN": 64}
        yield from compiled(kernels.plain_kernel, dtype, plain)
        yield from compiled(kernels.plain_weight_kernel, dtype, {"KH": 3, "KW": 3, "BM": 64, "BN": 32})
        moved = {"SCATTER": False, "RECTIFY": True}
        yield from compiled(kernels.pick_kernel, dtype, {**moved, "PLANES": True, "BM": 1024, "BN": 1})
        many = conv.ROW_BYTES // (conv.ROW * torch_dtype.itemsize)
        rows = {"ALIGNED_FROM": True, "ALIGNED_TO": True, "BM": many, "ROWS": conv.ROW, "COLS": 128}
        yield from compiled(kernels.rows_kernel, dtype, {**moved, **rows}, num_warps=8)
    yield from compiled(kernels.lists_kernel, "i32", {"BLOCK": 256})


def ffn_kernels() -> Iterator[dict[str, Any]]:
    """The block-sparse feed-forward network's, at LLaMA2-7B's sizes and at odd ones."""
    from lomt_kernels.ffn import triton as ffn

    for dtype, size in (("bf16", 2), ("fp32", 4)):
        columns = ffn.BYTES // size
        for block, d, out in ((32, 4096, 4096), (9, 130, 67)):
            sizes = {"SIZE": block, "ROWS": ffn.ROWS}
            of_hidden = {**sizes, "IN": d, "BN": ffn.NEURONS, "BD": columns}
            of_outputs = {"OUT": out, "BO": columns}
            cases = [
                (ffn._hidden_kernel, {"ACTIVATION": 0, "PARTS": 2, "bias": None, **of_hidden}),
                (ffn._hidden_kernel, {"ACTIVATION": 1, "PARTS": 1, **of_hidden}),
                (ffn._down_kernel, {**sizes, **of_outputs, "BN": ffn.neurons(block)}),
                (ffn._sum_kernel, of_outputs),
            ]
            for kernel, constants in cases:
                types = {"active": "*u8", "partial": "*fp32", "rows": "i32", "blocks": "i32", "splits": "i32"}
                signature = {name: types.get(name, f"*{dtype}") for name in kernel.arg_names}
                yield from _compiled(kernel, dtype, signature, constants, **ffn.OPTIONS)


def _compiled(
    kernel: Any, dtype: str, signature: dict[str, str], constants: dict[str, Any], **options: int
) -> Iterator[dict[str, Any]]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {**signature, **dict.fromkeys(constants, "constexpr")}
    # Tensors begin where 16 divides, as they do when Triton is called.
    aligned = {
        (i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if signature[name].startswith("*")
    }
    source = ASTSource(kernel, signature, constants, aligned)
    for architecture in ARCHITECTURES:
        done = triton.compile(source, GPUTarget("cuda", architecture, 32), {"enable_fp_fusion": True, **options})
        shape = ", ".join(f"{name}={value}" for name, value in constants.items() if value is not None)
        name = f"{kernel.__name__.strip('_')}({dtype}, {shape})"
        row = {"backend": "triton", "sm": architecture, "narrow_offsets": narrow(done.asm["ttir"])}
        row |= {what: len(re.findall(pattern, done.asm["ptx"])) for what, pattern in INSTRUCTIONS.items()}
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(done.asm["cubin"])
            file.flush()
            (found,) = resources(Path(file.name))
        yield row | found | {"kernel": name, "shared": max(found["shared"], done.metadata.shared)}


def narrow(ttir: str) -> int:
    """How many pointers are moved by 32-bit offsets."""
    moved = re.findall(r"tt\.addptr .*: (.*)$", ttir, re.MULTILINE)
    assert moved
    return sum(not re.search(r",\s*(tensor<[\dx]*xi64[^>]*>|i64)", types) for types in moved)


def cuda_kernels() -> Iterator[dict[str, Any]]:
    """Each kernel of each ``cuda.cu``, for each architecture."""
    for source in sorted((ROOT / "csrc").glob("*/cuda.cu")):
        for architecture in ARCHITECTURES:
            with tempfile.TemporaryDirectory() as folder:
                cubin = Path(folder) / "kernels.cubin"
                flags = ["-std=c++17", "-O3", "-DLOMT_HAS_CUDA", "-Wno-deprecated-gpu-targets"]
                subprocess.run(["nvcc", *flags, "-cubin", f"-arch=sm_{architecture}", source, "-o", cubin], check=True)
                for row in resources(cubin):
                    yield {"backend": "cuda", "sm": architecture, **row}


def resources(cubin: Path) -> Iterator[dict[str, Any]]:
    """Registers, stores of registers to memory, and static shared memory of each kernel in a cubin."""
    code = _dump("--dump-sass", cubin).split("Function : ")[1:]
    spills = {part.split(None, 1)[0]: len(re.findall(r"\bSTL\b", part)) for part in code}
    for name, registers, shared in RESOURCES.findall(_dump("--dump-resource-usage", cubin)):
        found = KERNEL.search(name)
        kernel, *arguments = (part for part in found.groups() if part) if found else (name,)
        types = ", ".join(TYPES.get(part, part) for part in arguments)
        kernel += f"<{types}>" if types else ""
        yield {"kernel": kernel, "registers": int(registers), "spilled": spills[name], "shared": int(shared)}


def _dump(what: str, cubin: Path) -> str:
    return subprocess.run([cuobjdump(), what, cubin], capture_output=True, text=True, check=True).stdout


def cuobjdump() -> str:
    """nvcc's, else Triton's."""
    found = shutil.which("cuobjdump") or shutil.which("cuobjdump", path="/usr/local/cuda/bin")
    if found is None:
        import triton

        found = str(Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump")
    return found


def main() -> int:
    """Print the table; returns 1 where something spills or an offset is narrow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    asked = parser.parse_args()
    rows = list(triton_kernels())
    if shutil.which("nvcc"):
        rows += cuda_kernels()
    columns = ("backend", "kernel", "sm", "registers", "spilled", "shared", "narrow_offsets", *INSTRUCTIONS)
    print(f"| {' | '.join(columns)} |\n|---|---{'|--:' * (len(columns) - 2)}|")
    for row in rows:
        print(f"| {' | '.join(str(row.get(column, '')) for column in columns)} |")
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(row["spilled"] > SPILLS[row["backend"]] or row.get("narrow_offsets") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
