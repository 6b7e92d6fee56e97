"""Estimators: what fit learns, what predict accepts, and what is stored."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold, cross_validate

from mlmethods.errors import (
    CheckpointError,
    InvalidInputError,
    MLMethodsWarning,
)
from mlmethods.motion import (
    ASRF,
    MSTCN,
    ASFormer,
    BiGRUTagger,
    Channel,
    CNNTagger,
    Recording,
    RecordingDataset,
    Segments,
    Seq2SeqRecognizer,
    WindowForest,
    metrics,
)
from mlmethods.motion.forest import _leaf_means
from mlmethods.motion.preprocess import ZNormalizer
from mlmethods.motion.windows import WindowSpec
from mlmethods_jax.testing import compile_guard

FS = 20.0
CLASSES = ("idle", "reach", "lift")
NAMES = ["ax", "ay", "az", "gx"]
MEANS = np.array([[1, 0, -1, 0.5], [0, 1, 1, -0.5], [-1, -1, 0, 1]])
SPEC = WindowSpec(size=3.2, hop=2.4, context=0.4)
TINY = {"maps": 8, "layers": 2, "width": 5, "window": SPEC, "train_hop": 0.8}
TINY |= {"epochs": 3, "lr": 0.02, "batch_size": 16}


def recording(seed, runs=10, noise=0.3, subject=None):
    """Return runs of three classes that the mean of the channels tells apart."""
    rng = np.random.default_rng(seed)
    order = np.cumsum(rng.integers(1, 3, runs)) % 3
    y = np.repeat(order, rng.integers(15, 50, runs)).astype(np.int32)
    data = MEANS[y] + noise * rng.normal(size=(len(y), 4))
    return Recording(
        data,
        FS,
        [Channel(name, "accel", "m/s2") for name in NAMES],
        subject=subject or f"s{seed}",
        labels=Segments.from_frames(y, FS, CLASSES),
    )


TRAIN = [recording(seed) for seed in range(4)]
VAL = [recording(seed) for seed in (10, 11)]
TEST = [recording(20, runs=7), recording(21, runs=3)]


@pytest.fixture(scope="module")
def model():
    return CNNTagger(**TINY).fit(TRAIN, VAL)


@pytest.fixture(scope="module")
def forest():
    return WindowForest(n_estimators=12, span=0.5, hop=0.2).fit(TRAIN)


# Fitting ---------------------------------------------------------------------


def test_what_fit_learns(model):
    assert model.classes_ == CLASSES
    assert (model.feature_names_, model.n_features_in_) == (NAMES, 4)
    assert [row["epoch"] for row in model.history_] == [1, 2, 3]
    rates = [row["val_aer"] for row in model.history_]
    assert model.best_epoch_ == 1 + rates.index(min(rates))
    assert model.score(TEST) > -0.3


def test_a_second_fit_and_predict_compile_nothing(model):
    model.predict(TEST)
    with compile_guard(max_compiles=0):
        again = CNNTagger(**{**TINY, "lr": 0.01, "random_state": 5}).fit(TRAIN, VAL)
        model.predict(TEST)
    differ = [not np.array_equal(a, again.params_[n]) for n, a in model.params_.items()]
    assert all(differ)


def test_the_same_seed_gives_the_same_parameters(model):
    again = clone(model).fit(TRAIN, VAL)
    for name, array in model.params_.items():
        assert_array_equal(again.params_[name], array, err_msg=name)


def test_resuming_gives_what_one_run_gives(model, tmp_path):
    def stop(event):
        if event.step == 2:
            raise KeyboardInterrupt

    begun = CNNTagger(**TINY)
    with pytest.raises(KeyboardInterrupt):
        begun.fit(TRAIN, VAL, [stop], checkpoint=tmp_path)
    # what was interrupted can be used
    assert len(begun.predict(TEST)) == 2
    resumed = CNNTagger(**TINY).fit(TRAIN, VAL, resume=tmp_path)
    assert resumed.history_ == model.history_
    for name, array in model.params_.items():
        assert_array_equal(resumed.params_[name], array, err_msg=name)
    with pytest.raises(CheckpointError, match="another training: seed"):
        CNNTagger(**TINY, random_state=1).fit(TRAIN, VAL, resume=tmp_path)


def test_subjects_must_be_apart():
    with pytest.raises(InvalidInputError, match="'s1'"):
        CNNTagger(**TINY).fit(TRAIN, [recording(30, subject="s1")])
    with pytest.raises(InvalidInputError, match="'s1'"):
        WindowForest().fit(TRAIN, [recording(30, subject="s1")])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": 0.0}, "lr must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"batch_size": 1.5}, "batch_size must be"),
        ({"features": "some"}, "features must be"),
        ({"smoothing": (0, 3)}, "smoothing"),
        ({"train_hop": -1}, "train_hop must be"),
    ],
)
def test_arguments_out_of_range_are_named(options, words):
    with pytest.raises(InvalidInputError, match=words):
        CNNTagger(**{**TINY, **options}).fit(TRAIN).predict(TEST)


def test_presets_other_than_base_are_refused():
    with pytest.raises(InvalidInputError, match="preset must be"):
        Seq2SeqRecognizer("huge").fit(TRAIN)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ([], "at least one recording"),
        (TRAIN[0], r"write \[recording\]"),
        ("folder", "list of recordings"),
        ([1], "Recording objects, got int"),
        ([TRAIN[0].replace(labels=None)], "must hold recordings with labels"),
        ([TRAIN[0], TRAIN[1].replace(fs=15.0)], "got 15 Hz in 's1'"),
        ([TRAIN[0], TRAIN[1].select(NAMES[:3])], "lacks 'gx'"),
        ([TRAIN[0].slice(0, 0.3)], "at least 8 frames"),
    ],
)
def test_training_sets_that_do_not_fit(train, words):
    with pytest.raises(InvalidInputError, match=words):
        CNNTagger(**TINY).fit(train)


def test_a_label_of_another_class_is_named():
    spans = Segments([0.0], [1.0], [0], ("jump",))
    with pytest.raises(InvalidInputError, match="'jump' in 's1'"):
        CNNTagger(**TINY).fit([TRAIN[0], TRAIN[1].replace(labels=spans)])


def test_classes_are_matched_by_name(forest):
    turned = [
        item.replace(
            labels=Segments(
                item.labels.start,
                item.labels.end,
                2 - item.labels.label,
                CLASSES[::-1],
            )
        )
        for item in TEST
    ]
    assert forest.score(turned) == forest.score(TEST)
    mixed = WindowForest(n_estimators=12, span=0.5, hop=0.2)
    mixed.fit([TRAIN[0], *[t for t in turned], *TRAIN[1:]])
    assert mixed.classes_ == CLASSES


# Prediction ------------------------------------------------------------------


def test_predictions_are_consistent(model):
    spans, proba = model.predict(TEST), model.predict_proba(TEST)
    for item, own, p, sequence in zip(
        TEST, spans, proba, model.predict_sequence(TEST), strict=True
    ):
        assert p.shape == (item.n_frames, 3)
        assert p.dtype == np.float32
        assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
        assert_array_equal(own.to_frames(FS, item.n_frames), p.argmax(axis=1))
        assert own.sequence() == sequence
        first = p[: round(own.end[0] * FS), own.label[0]]
        assert_allclose(own.confidence[0], first.mean(), rtol=1e-5)
    expected = metrics.levenshtein(TEST[0].labels.sequence(), spans[0].sequence())
    expected += metrics.levenshtein(TEST[1].labels.sequence(), spans[1].sequence())
    assert model.score(TEST) == -expected / 10


def test_a_prediction_depends_on_its_recording_alone(model):
    together = model.predict_proba([*TEST, *TRAIN])
    for item, proba in zip([*TEST, *TRAIN], together, strict=True):
        assert_allclose(model.predict_proba([item])[0], proba, atol=1e-5)


def test_logits_do_not_depend_on_padding_or_the_batch(model):
    x = np.random.default_rng(0).normal(size=(5, 64, 4)).astype(np.float32)
    mask = np.arange(64) < np.array([64, 50, 9, 64, 1])[:, None]
    whole = model.predict_logits(x, mask)
    assert whole.shape == (1, 5, 64, 3)
    for row, length in enumerate(mask.sum(axis=1)):
        own = model.predict_logits(x[row : row + 1, :length])
        assert_allclose(own[0, 0], whole[0, row, :length], atol=1e-5)
    with pytest.raises(InvalidInputError, match=r"shape \(B, T, 4\)"):
        model.predict_logits(x[..., :2])
    with pytest.raises(InvalidInputError, match="mask must have shape"):
        model.predict_logits(x, mask[:2])


def test_features_in_another_order_are_the_same(model):
    turned = [item.select(NAMES[::-1]) for item in TEST]
    assert model.predict(turned) == model.predict(TEST)


def test_missing_features(model):
    lacking = [item.select(NAMES[:3]) for item in TEST]
    with pytest.raises(InvalidInputError, match="lacks 'gx' and has nothing besides"):
        model.predict(lacking)
    filling = clone(model).set_params(features="auto")
    vars(filling).update({k: v for k, v in vars(model).items() if k.endswith("_")})
    with pytest.warns(MLMethodsWarning, match="lacks 25% of the features"):
        found = filling.prepare(lacking)
    assert_array_equal(found[0].data[:, 3], 0)
    assert found[0].feature_names == NAMES
    with pytest.raises(InvalidInputError, match="at least 70 %"):
        filling.predict([item.select(NAMES[:2]) for item in TEST])
    more = TEST[0].with_data(
        np.hstack([TEST[0].data, TEST[0].data[:, :1]]),
        channels=[*TEST[0].channels, Channel("new", "accel", "m/s2")],
    )
    with pytest.raises(InvalidInputError, match="has 'new' besides"):
        model.predict([more])
    assert filling.predict([more]) == model.predict(TEST[:1])


def test_filled_features_of_a_training_mean_are_zero():
    trained = WindowForest(
        n_estimators=2, features="auto", normalizer=ZNormalizer(per="train")
    ).fit(TRAIN)
    with pytest.warns(MLMethodsWarning, match="lacks 25%"):
        prepared = trained.prepare([TEST[0].select(NAMES[1:])])
    assert_allclose(prepared[0].data[:, 0], 0, atol=1e-5)


def test_other_rates_and_damaged_signals_are_refused(model):
    with pytest.raises(InvalidInputError, match="recorded at 20 Hz, got 10 Hz"):
        model.predict([TEST[0].replace(fs=10.0)])
    data = TEST[0].data.copy()
    data[7, 1] = np.nan
    with pytest.raises(InvalidInputError, match="'ay' at frame 7"):
        model.predict([TEST[0].with_data(data)])
    plain = WindowForest(n_estimators=2, normalizer=None).fit(TRAIN)
    with pytest.raises(InvalidInputError, match="channel 'ay', frame 7"):
        plain.predict([TEST[0].with_data(data)])


def test_frames_without_a_signal_are_marked(forest):
    valid = np.ones(TEST[0].n_frames, bool)
    valid[:3] = False
    spans = forest.predict([TEST[0].replace(meta={"valid": valid})])[0]
    assert not spans.valid[0]
    assert spans.valid[1:].all()


def test_not_fitted():
    with pytest.raises(NotFittedError, match="CNNTagger is not fitted"):
        CNNTagger().predict(TEST)


def test_smoothing_removes_short_runs(forest):
    smooth = clone(forest).set_params(smoothing=(9, 3.0), min_frames=6)
    smooth.trees_ = forest.trees_
    for name in ("classes_", "feature_names_", "fs_", "normalizer_"):
        setattr(smooth, name, getattr(forest, name))
    spans = smooth.predict(TEST)
    assert min(own.durations.min() for own in spans) >= 6 / FS - 1e-9
    assert sum(map(len, spans)) <= sum(map(len, forest.predict(TEST)))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "untrained",
    [
        MSTCN(stages=2, layers=3, maps=8, epochs=8, lr=0.01),
        ASRF(stages=2, layers=3, maps=8, epochs=10, lr=0.01),
        ASFormer(
            decoders=1,
            layers=2,
            maps=16,
            dropout=0.1,
            channel_dropout=0.0,
            epochs=30,
            lr=0.005,
            smoothing=(7, 3.0),
        ),
        BiGRUTagger(
            hidden=8,
            layers=1,
            epochs=8,
            lr=0.02,
            batch_size=16,
            window=SPEC,
            train_hop=0.8,
            smoothing=(7, 3.0),
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_network_learns_and_is_stored(untrained, tmp_path):
    model = clone(untrained).fit(TRAIN, VAL)
    assert model.score(TEST) > -0.3
    together = model.predict_proba(TEST)
    for item, proba in zip(TEST, together, strict=True):
        assert_allclose(model.predict_proba([item])[0], proba, atol=1e-5)
        spans = model.predict([item])[0]
        assert_allclose([spans.start[0], spans.end[-1]], [0, item.duration])
    model.save_pretrained(tmp_path / "m")
    again = type(model).from_pretrained(tmp_path / "m")
    assert again.predict(TEST) == model.predict(TEST)


# The forest ------------------------------------------------------------------


def test_the_arrays_of_a_forest_are_that_forest():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 6)).astype(np.float32), rng.integers(0, 3, 300)
    from mlmethods.motion.forest import _as_arrays

    grown = RandomForestClassifier(7, random_state=0).fit(X, y)
    rows = rng.normal(size=(50, 6)).astype(np.float32)
    found = _leaf_means(_as_arrays(grown, 3), rows)
    assert_allclose(found, grown.predict_proba(rows), atol=1e-6)


def test_a_class_that_never_occurs_has_no_probability():
    items = [
        item.replace(
            labels=Segments(
                item.labels.start,
                item.labels.end,
                item.labels.label,
                (*CLASSES, "never"),
            )
        )
        for item in TRAIN
    ]
    proba = WindowForest(n_estimators=3).fit(items).predict_proba(TEST)[0]
    assert proba.shape[1] == 4
    assert proba[:, 3].max() == 0


def test_scikit_learn_validates_across_subjects():
    result = cross_validate(
        WindowForest(n_estimators=5, span=0.5, hop=0.2, smoothing=(9, 3.0)),
        TRAIN,
        groups=[item.subject for item in TRAIN],
        cv=GroupKFold(2),
    )
    assert result["test_score"].shape == (2,)
    assert result["test_score"].max() <= 0


def test_a_data_set_is_a_sequence_of_recordings(forest):
    data = RecordingDataset(TRAIN, classes=CLASSES)
    again = clone(forest).fit(data)
    assert again.predict(RecordingDataset(TEST)) == forest.predict(TEST)


# Storage ---------------------------------------------------------------------


def test_a_stored_model_is_the_same(model, forest, tmp_path):
    for own in (model, forest):
        folder = tmp_path / type(own).__name__
        own.save_pretrained(folder)
        assert sorted(path.name for path in folder.iterdir()) == [
            "config.json",
            "model.safetensors",
        ]
        again = type(own).from_pretrained(folder)
        assert again.get_params()["window"] == own.window
        assert again.predict(TEST) == own.predict(TEST)
        other = WindowForest if own is model else CNNTagger
        with pytest.raises(CheckpointError, match="not a"):
            other.from_pretrained(folder)
    assert again.classes_ == CLASSES


def test_statistics_of_a_normalizer_are_stored(tmp_path):
    trained = WindowForest(n_estimators=2, normalizer=ZNormalizer(per="train"))
    trained.fit(TRAIN).save_pretrained(tmp_path / "m")
    again = WindowForest.from_pretrained(tmp_path / "m")
    assert_array_equal(again.normalizer_.mean_, trained.normalizer_.mean_)
    assert again.predict(TEST) == trained.predict(TEST)


def test_a_damaged_store_is_named(forest, tmp_path):
    forest.save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"classes_"', '"klasses_"'), encoding="utf-8")
    with pytest.raises(CheckpointError, match="damaged"):
        WindowForest.from_pretrained(tmp_path / "m")


def test_the_network_of_a_configuration_is_used():
    config = MSTCN(stages=3, maps=16)._network_config(4, 3)
    assert dataclasses.asdict(config) == {
        "n_features": 4,
        "n_classes": 3,
        "dropout": 0.5,
        "stages": 3,
        "layers": 10,
        "maps": 16,
        "smoothing_weight": 0.15,
    }
