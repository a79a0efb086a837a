"""``lomt predict``: what a saved network sees in pictures."""

import sys

from jsonargparse import Namespace

from lomt.cli.parser import Parser


def parser() -> Parser:
    """What it can be told."""
    made = Parser(
        description="Write what a saved network says of pictures: class maps with a legend, depth in millimetres "
        "(16-bit PNG) and as colours, normals, edges, classes and numbers (JSON, CSV). about.json says what is what."
    )
    made.add_argument("pictures", type=str, help="a picture of any size and kind, or a folder of them")
    made.add_argument("--model", type=str, required=True, help="a run, a folder of save_pretrained, an .onnx file")
    made.add_argument("--out", type=str, default="predictions", help="folder for the predictions")
    made.add_argument("--overwrite", action="store_true", help="write into --out even if it holds something")
    made.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda; ONNX Runtime uses the cpu")
    return made


def run(options: Namespace) -> None:
    """Run the command."""
    from lomt.evaluation import device_of
    from lomt.export import open_model
    from lomt.prediction import predict

    device = str(device_of(options.device))
    done = predict(
        options.pictures,
        open_model(options.model),
        options.out,
        device=device,
        overwrite=options.overwrite,
    )
    print(done, file=sys.stderr if done.bad else sys.stdout)
    if done.bad:
        raise ValueError(f"{len(done.bad)} of {len(done.bad) + len(done.values)} pictures were left out, see above")
