import math

import msgspec
import pytest

from bot.evaluation.ground_truth import (
    CEILING,
    FROZEN,
    MEMORY,
    ORACLE,
    PLAIN,
    SHUFFLED,
    MarketStudy,
    study_markets,
)
from bot.model.memory.moments import MemoryConfig
from bot.model.similarity import SimilarityModel

HORIZON = 16
STUDY = MarketStudy(market="few", seeds=(11, 12), bars=8_000, sizes=(2_000,), trades=False)


def plain(memory: MemoryConfig) -> SimilarityModel:
    return SimilarityModel(
        msgspec.structs.replace(memory, key_share=1.0), interval="15", horizon_bars=HORIZON
    )


def judged(study):
    def trader(market):
        raise AssertionError("only recall is judged")

    return study_markets(study, (plain, plain, trader), MemoryConfig(), HORIZON, lambda *told: None)


@pytest.fixture(scope="module")
def report():
    return judged(STUDY)


def test_the_same_market_gives_the_same_report():
    short = msgspec.structs.replace(STUDY, seeds=(11,), bars=4_000, sizes=())
    assert msgspec.json.encode(judged(short)) == msgspec.json.encode(judged(short))


def test_who_knows_the_motif_knows_its_direction_and_the_memory_less(report):
    by_method = {each.method: each for each in report.across}
    assert by_method[ORACLE].direction.value == pytest.approx(1.0)
    assert by_method[ORACLE].all.value > 0.3
    assert 0.1 < by_method[MEMORY].direction.value < by_method[CEILING].direction.value < 1.0
    assert abs(by_method[SHUFFLED].direction.value) < by_method[MEMORY].direction.value


def test_the_same_model_differs_from_itself_by_nothing(report):
    pair = next(each for each in report.paired if (each.method, each.baseline) == (MEMORY, PLAIN))
    assert (pair.all.value, pair.novel.value, pair.won) == (0.0, 0.0, 0)


def test_a_frozen_memory_has_seen_no_novel_motif(report):
    online, frozen = ([seed.scores[method].novel for seed in report.seeds] for method in (MEMORY, FROZEN))
    assert online != frozen
    assert all(math.isfinite(each) for each in (*online, *frozen))


def test_sizes_end_with_the_whole_memory(report):
    assert list(report.sizes) == [2_000, 8_000]
    whole = next(each for each in report.across if each.method == MEMORY).all
    assert report.sizes[8_000] == whole
