"""The convolutions that kernels are measured on."""

Shape = tuple[int, int, int, int]


def resnet50() -> list[Shape]:
    """Weights of all convolutions of a ResNet-50's backbone, 23.5 million numbers."""
    shapes: list[Shape] = [(64, 3, 7, 7)]
    channels = 64
    for width, blocks in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for block in range(blocks):
            shapes += [(width, channels, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            if block == 0:
                shapes.append((4 * width, channels, 1, 1))
            channels = 4 * width
    return shapes
