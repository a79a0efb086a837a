import pytest

from lomt.report.blocks import chain, place
from lomt.report.comparison import Candidate


@pytest.fixture
def resnet(example):
    return [Candidate(one["name"], one["channels"], one["stride"]) for one in example.candidates()]


def test_blocks_of_a_resnet(resnet):
    names = [block.name for block in chain(resnet)]
    assert names[:4] == ["stem", "maxpool", "layer1.0", "layer1.1"]
    assert names[-1] == "layer4.1"
    assert len(names) == 10


def test_every_part_is_in_exactly_one_block(resnet):
    parts = [part for block in chain(resnet) for part in block.parts]
    assert len(parts) == len(set(parts))
    assert {one.name for one in resnet} - set(parts) == {"layer1", "layer2", "layer3", "layer4"}


def test_a_block_has_the_figures_of_its_end(resnet):
    block = next(block for block in chain(resnet) if block.name == "layer2.0")
    assert (block.channels, block.stride) == (32, 8)


def test_a_plain_sequence_has_its_layers_as_blocks():
    layers = [Candidate(str(index), 8, 2) for index in range(3)]
    blocks = chain(layers, grouped={"0", "2"})
    assert [(block.name, block.plain) for block in blocks] == [("0", False), ("1", True), ("2", False)]


def test_places_grow_along_the_chain(resnet):
    blocks = chain(resnet)
    places = [place(blocks, part) for block in blocks for part in block.parts]
    assert places == sorted(places)
    assert place(blocks, "layer2.0") == (4, 1.0)


def test_a_container_ends_with_its_last_block_and_the_empty_name_is_the_end(resnet):
    blocks = chain(resnet)
    assert place(blocks, "layer3") == (7, 1.0)
    assert place(blocks, "") == (9, 1.0)
    assert place(blocks, "layer9") is None


def test_nothing_has_no_blocks():
    assert chain([]) == []
    assert place([], "") is None
