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
TYPES = {"f": "float", "d": "double"}
KERNEL = re.compile(r"\d([a-z_]+_kernel)(?:I(?:NS_\d+(One[A-Za-z]+?)I)?(?:(?:N4lomt|NS_)?\d*([A-Za-z]\w*?))E)?")
"""A kernel's name as the linker knows it: its own, the optimizer's, the weights' type."""
RESOURCES = re.compile(r"Function ([\w.$]+):\s*\n?\s*REG:(\d+) STACK:\d+ SHARED:(\d+)")


def triton_kernels() -> Iterator[dict[str, Any]]:
    """Each Triton kernel of each operation, for float32 and bfloat16, for each architecture."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

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
            sizes = constants | {"GROUPS": many, "MEMBERS": members}
            source = ASTSource(kernel, {**signature, **dict.fromkeys(sizes, "constexpr")}, sizes)
            for architecture in ARCHITECTURES:
                done = triton.compile(source, GPUTarget("cuda", architecture, 32), {"enable_fp_fusion": True})
                shape = ", ".join(f"{name}={value}" for name, value in sizes.items() if value is not None)
                name = f"{kernel.__name__.strip('_')}({dtype}, {shape})"
                row = {
                    "backend": "triton",
                    "kernel": name,
                    "sm": architecture,
                    "narrow_offsets": narrow(done.asm["ttir"]),
                }
                with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
                    file.write(done.asm["cubin"])
                    file.flush()
                    (found,) = resources(Path(file.name))
                yield row | found | {"kernel": name}


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
    columns = ("backend", "kernel", "sm", "registers", "spilled", "shared", "narrow_offsets")
    print(f"| {' | '.join(columns)} |\n|---|---|--:|--:|--:|--:|--:|")
    for row in rows:
        print(f"| {' | '.join(str(row.get(column, '')) for column in columns)} |")
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(row["spilled"] > SPILLS[row["backend"]] or row.get("narrow_offsets") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
