"""The counting pipeline with models that were trained."""

import numpy as np
import pytest

from mlmethods.errors import InvalidInputError
from mlmethods.motion import (
    CNNTagger,
    CTCRecognizer,
    PrimSeq,
    PrimSeqStream,
    Segments,
    Seq2SeqRecognizer,
    WindowForest,
)
from mlmethods.motion.preprocess import ZNormalizer


@pytest.fixture(scope="module")
def moving(tools):
    """Recordings of four people, with the statistics of one normalizer."""
    return [
        tools.recording(
            tools.labels(700, seed=k, shortest=25), noise=0.3, seed=k, subject=f"p{k}"
        )
        for k in range(4)
    ]


def test_a_forest_goes_through_the_pipeline(moving, tmp_path):
    model = WindowForest(n_estimators=5, random_state=0).fit(moving[:3])
    pipeline = PrimSeq(model).calibrate(moving[2:3])
    result = pipeline.predict(moving[3:])
    own = model.predict(moving[3:])[0]
    assert result.segments[0].label.tolist() == own.label.tolist()
    np.testing.assert_allclose(result.segments[0].start, own.start)
    assert result.provenance["model"] == "WindowForest"
    result.report(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Seq2SeqRecognizer, CNNTagger])
def test_networks_give_the_same_in_one_piece_and_in_a_stream(moving, kind):
    sizes = {"maps": 8, "layers": 2, "width": 5} if kind is CNNTagger else {"hidden": 8}
    model = kind(
        epochs=4, batch_size=8, lr=0.01, normalizer=ZNormalizer(per="train"), **sizes
    ).fit(moving[:3])
    found = PrimSeq(model).predict(moving[3:]).segments[0]
    assert len(found) > 1
    assert found == model.predict(moving[3:])[0]
    assert found.sequence() == model.predict_sequence(moving[3:])[0]
    stream = PrimSeqStream(model)
    data = moving[3].data
    parts = [stream.push(data[at : at + 83]) for at in range(0, 700, 83)]
    joined = Segments.concat([*parts, stream.flush()])
    assert joined.label.tolist() == found.label.tolist()
    np.testing.assert_array_equal(joined.start, found.start)
    np.testing.assert_allclose(joined.confidence, found.confidence, atol=1e-5)
    if kind is Seq2SeqRecognizer:
        attended = PrimSeq(model, align="attention").predict(moving[3:]).segments[0]
        assert attended.sequence() == found.sequence()


@pytest.mark.slow
def test_a_model_of_counts_goes_through_the_pipeline(moving):
    model = CTCRecognizer(hidden=8, layers=2, epochs=2, batch_size=4, lr=0.01)
    model.fit(moving[:3], counts=[{"reach": 4}] * 3, classes=["reach"])
    found = PrimSeq(model, collapse_repeats=False).predict(moving[3:])
    assert found.segments[0].sequence() == model.predict_sequence(moving[3:])[0]
    with pytest.raises(InvalidInputError, match="whole recordings"):
        PrimSeqStream(model)
