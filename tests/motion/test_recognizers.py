"""Recognizers: decoding of recordings, training from sequences and counts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mlmethods.errors import CheckpointError, InvalidInputError
from mlmethods.motion import (
    BiGRUTagger,
    Channel,
    CTCRecognizer,
    Recording,
    Seg2Seq,
    Segments,
    Seq2SeqRecognizer,
    WindowForest,
    metrics,
)
from mlmethods.motion._imported import set_up_imported
from mlmethods.motion._sequence import class_ids, transcripts_of
from mlmethods.motion.windows import WindowSpec, cut, stitch

FS = 20.0
CLASSES = ("idle", "reach", "lift")
NAMES = ["ax", "ay", "az", "gx"]
MEANS = np.array([[1, 0, -1, 0.5], [0, 1, 1, -0.5], [-1, -1, 0, 1]])
SPEC = WindowSpec(size=3.2, hop=2.4, context=0.4)
SMALL = {"hidden": 8, "layers": 2, "window": SPEC}


def recording(seed, runs=10, noise=0.3, order=None, names=CLASSES):
    rng = np.random.default_rng(seed)
    if order is None:
        order = np.cumsum(rng.integers(1, 3, runs)) % 3
    y = np.repeat(order, rng.integers(15, 40, len(order))).astype(np.int32)
    data = MEANS[y] + noise * rng.normal(size=(len(y), 4))
    return Recording(
        data,
        FS,
        [Channel(name, "accel", "m/s2") for name in NAMES],
        subject=f"s{seed}",
        labels=Segments.from_frames(y, FS, names),
    )


TEST = [recording(20, runs=12), recording(21, runs=3), recording(22, runs=1)]


def untrained(cls, classes=CLASSES, scale=4.0, **options):
    """Return a model with random weights, whose answers vary with its inputs."""
    model = cls(**SMALL, **options)
    config = model._network_config(4, len(classes))
    params = model._engine().network(config).init(3)
    params = {name: scale * array for name, array in params.items()}
    set_up_imported(model, config, params, classes=classes, feature_names=NAMES, fs=FS)
    if cls is CTCRecognizer:
        model.whole_ = False
    return model


@pytest.fixture(scope="module")
def seq2seq():
    return untrained(Seq2SeqRecognizer)


@pytest.fixture(scope="module")
def ctc():
    return untrained(CTCRecognizer)


def test_windows_are_decoded_in_order(seq2seq):
    found = seq2seq.predict_sequence(TEST)
    for item, sequence in zip(seq2seq.prepare(TEST), found, strict=True):
        batch, before, parts = cut(item, SPEC), 1, []
        for row in range(len(batch.x)):
            ids = seq2seq.decode_windows(
                batch.x[row : row + 1], batch.mask[row : row + 1], [before]
            ).ids[0]
            own = ids[ids > 0]
            parts.append(own - 1)
            before = own[-1] if len(own) else before
        assert sequence == stitch(parts)
    assert len({label for sequence in found for label in sequence}) > 1


def test_a_prediction_depends_on_its_recording_alone(seq2seq):
    together = seq2seq.predict_proba(TEST)
    sequences = seq2seq.predict_sequence(TEST)
    for item, proba, sequence in zip(TEST, together, sequences, strict=True):
        assert_allclose(seq2seq.predict_proba([item])[0], proba, atol=1e-5)
        assert seq2seq.predict_sequence([item]) == [sequence]


@pytest.mark.parametrize("name", ["seq2seq", "ctc"])
def test_segments_have_the_sequence_and_lie_in_the_recording(name, request):
    model = request.getfixturevalue(name)
    for item, spans, sequence, proba in zip(
        TEST,
        model.predict(TEST),
        model.predict_sequence(TEST),
        model.predict_proba(TEST),
        strict=True,
    ):
        assert spans.sequence() == sequence
        assert spans.classes == CLASSES
        if len(spans):
            assert spans.start[0] >= 0
            assert spans.end[-1] <= item.duration + 1e-9
            assert (spans.confidence > 0).all()
        assert proba.shape == (item.n_frames, 3)
        assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)


def test_forward_gives_all_that_is_computed(seq2seq):
    x = np.random.default_rng(0).normal(size=(3, 62, 4)).astype(np.float32)
    out = seq2seq.forward(x, [1, 2, 3], max_tokens=6)
    shapes = {name: array.shape for name, array in out.items()}
    assert shapes["encoder"] == (3, 16, 16)
    assert shapes["frame_logits"] == (3, 16, 3)
    assert shapes["log_probs"] == (3, 6, 5)
    assert shapes["attention"] == (3, 6, 16)
    assert_allclose(out["attention"].sum(axis=2), 1, rtol=1e-5)
    # given its own tokens, the decoder does the same
    again = seq2seq.forward(x, [1, 2, 3], tokens=out["ids"])
    kept = np.cumsum((out["ids"] == 4) | (out["ids"] == 0), axis=1) == 0
    assert kept.any()
    assert_allclose(
        again["log_probs"][kept], out["log_probs"][kept], rtol=1e-4, atol=1e-5
    )
    ids = seq2seq.decode_windows(x, previous=[1, 2, 3]).ids
    attention = seq2seq.attention_windows(x, None, [1, 2, 3], ids)
    assert attention.shape == (3, ids.shape[1], 16)


def test_shapes_that_do_not_fit(seq2seq):
    x = np.zeros((3, 64, 4), np.float32)
    with pytest.raises(InvalidInputError, match=r"shape \(B, T, 4\)"):
        seq2seq.forward(x[0])
    with pytest.raises(InvalidInputError, match=r"previous must have shape \(3,\)"):
        seq2seq.decode_windows(x, previous=[1, 2])
    with pytest.raises(InvalidInputError, match="beam must be"):
        untrained(Seq2SeqRecognizer, beam=17).predict(TEST)


def test_ctc_of_a_whole_recording_keeps_repeats(ctc):
    whole = untrained(CTCRecognizer)
    whole.whole_ = True
    found = whole.predict_sequence(TEST)
    logs = ctc._network().logits(ctc.params_, ctc.prepare(TEST)[0].data[None])
    assert logs.shape == (1, -(-TEST[0].n_frames // 4), 4)
    best = logs[0].argmax(axis=1)
    kept = np.flatnonzero(np.diff(best, prepend=-1))
    assert found[0] == [int(token) - 1 for token in best[kept] if token]
    assert [spans.sequence() for spans in whole.predict(TEST)] == found


def test_counts_and_transcripts():
    counts = [{"lift": 2}, {1: 3}, {}, {"reach": 0}]
    assert transcripts_of(counts, CLASSES) == [[2, 2], [1, 1, 1], [], []]
    assert class_ids([["lift", 0], []], CLASSES) == [[2, 0], []]
    with pytest.raises(InvalidInputError, match="for recording 1; give targets"):
        transcripts_of([{0: 1}, {0: 1, 1: 1}], CLASSES)
    with pytest.raises(InvalidInputError, match="got 'jump'"):
        class_ids([["jump"]], CLASSES)
    with pytest.raises(InvalidInputError, match="got 3"):
        class_ids([[3]], CLASSES)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"targets": [[0]], "counts": [{0: 1}]}, "must not both"),
        ({"targets": [[0]]}, "one entry for each of 2 recordings, got 1"),
        ({"counts": [{"lift": 99}, {}]}, "99 motions need 197 steps"),
    ],
)
def test_targets_that_do_not_fit(options, words):
    with pytest.raises(InvalidInputError, match=words):
        CTCRecognizer(**SMALL).fit([recording(1, 2), recording(2, 2)], **options)


def test_unlabeled_recordings_need_classes():
    plain = recording(1).replace(labels=None)
    with pytest.raises(InvalidInputError, match="classes must be given"):
        CTCRecognizer(**SMALL).fit([plain], counts=[{"lift": 1}])


def test_a_stored_recognizer_is_the_same(seq2seq, ctc, tmp_path):
    for model in (seq2seq, ctc):
        folder = tmp_path / type(model).__name__
        model.save_pretrained(folder)
        again = type(model).from_pretrained(folder)
        assert again.predict(TEST) == model.predict(TEST)
    assert again.whole_ is False


def test_a_recognizer_on_top_of_a_forest(tmp_path):
    forest = WindowForest(n_estimators=5, span=0.5, hop=0.2)
    forest.fit([recording(seed) for seed in range(3)])
    recognizer = Seq2SeqRecognizer(**SMALL, normalizer=None)
    config = recognizer._network_config(3, 3)
    params = recognizer._engine().network(config).init(1)
    names = [f"p({name})" for name in CLASSES]
    set_up_imported(
        recognizer, config, params, classes=CLASSES, feature_names=names, fs=FS
    )
    both = Seg2Seq(forest, recognizer)._take_names()
    prepared = both.prepare(TEST)
    assert_array_equal(prepared[0].data, forest.predict_proba(TEST)[0])
    assert both.predict_sequence(TEST) == recognizer.predict_sequence(prepared)
    both.save_pretrained(tmp_path / "both")
    again = Seg2Seq.from_pretrained(tmp_path / "both")
    assert again.predict(TEST) == both.predict(TEST)
    with pytest.raises(CheckpointError, match="holds a Seg2Seq"):
        WindowForest.from_pretrained(tmp_path / "both")


def test_a_recognizer_needs_a_fitted_segmenter():
    with pytest.raises(InvalidInputError, match="must both be given"):
        Seg2Seq().fit(TEST)
    with pytest.raises(InvalidInputError, match="segmenter must be fitted"):
        Seg2Seq(BiGRUTagger(), Seq2SeqRecognizer()).fit(TEST)


# Training --------------------------------------------------------------------


@pytest.mark.slow
def test_seq2seq_learns_sequences():
    train = [recording(seed) for seed in range(8)]
    model = Seq2SeqRecognizer(
        hidden=16, layers=2, window=SPEC, lr=0.01, batch_size=32, epochs=15
    )
    model.fit(train, [recording(30), recording(31)])
    assert model.score(TEST) > -0.25
    rates = [row["val_aer"] for row in model.history_]
    assert rates[model.best_epoch_ - 1] == min(rates) < rates[0]


@pytest.mark.slow
def test_ctc_learns_counts_without_times():
    rng = np.random.default_rng(0)
    counts = rng.integers(2, 7, 24)
    items = []
    for seed, n in enumerate(counts):
        # a motion and the way back; only the first is counted
        item = recording(seed, order=np.tile([1, 0], n))
        items.append(item.replace(labels=None))
    model = CTCRecognizer(hidden=16, layers=2, lr=0.01, batch_size=8, epochs=40)
    model.fit(
        items[:20],
        counts=[{"reach": int(n)} for n in counts[:20]],
        classes=CLASSES,
    )
    found = model.predict_sequence(items[20:])
    assert {label for sequence in found for label in sequence} == {1}
    errors = np.abs([len(sequence) for sequence in found] - counts[20:])
    assert errors.max() <= 1


@pytest.mark.slow
def test_seg2seq_learns_on_probabilities():
    train = [recording(seed) for seed in range(8)]
    forest = WindowForest(n_estimators=10, span=0.5, hop=0.2).fit(train[:4])
    recognizer = Seq2SeqRecognizer(
        hidden=16,
        layers=2,
        window=SPEC,
        lr=0.01,
        batch_size=32,
        epochs=12,
        normalizer=None,
    )
    both = Seg2Seq(forest, recognizer).fit(train[4:], [recording(30)])
    truth = [item.labels.sequence() for item in TEST]
    found = both.predict_sequence(TEST)
    errors = sum(map(metrics.levenshtein, truth, found))
    assert errors <= 5
    assert both.score(TEST) == -errors / sum(map(len, truth))
