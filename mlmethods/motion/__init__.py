"""Recognition and counting of functional motions in wearable-sensor recordings.

Recordings of any common export, models that name every sub-second motion, metrics of
the field, and counts with intervals (StrokeRehab: Kaku et al., NeurIPS 2022; PrimSeq:
Parnandi et al., PLOS Digital Health 2022).
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "ASFormer": "mlmethods.motion.segmentation",
        "ASRF": "mlmethods.motion.segmentation",
        "BiGRUTagger": "mlmethods.motion.segmentation",
        "CNNTagger": "mlmethods.motion.segmentation",
        "CTCRecognizer": "mlmethods.motion.recognizers",
        "Channel": "mlmethods.motion.recording",
        "CountCalibration": "mlmethods.motion.count_calibration",
        "MSTCN": "mlmethods.motion.segmentation",
        "PrimSeq": "mlmethods.motion.primseq",
        "PrimSeqResult": "mlmethods.motion.primseq",
        "PrimSeqStream": "mlmethods.motion.stream",
        "Recording": "mlmethods.motion.recording",
        "RecordingDataset": "mlmethods.motion.collection",
        "Segments": "mlmethods.motion.segments",
        "Seg2Seq": "mlmethods.motion.recognizers",
        "Seq2SeqRecognizer": "mlmethods.motion.recognizers",
        "WindowForest": "mlmethods.motion.forest",
        "align": "",
        "calibration": "",
        "callbacks": "",
        "counting": "",
        "datasets": "",
        "export": "",
        "intervals": "",
        "io": "",
        "load_model": "mlmethods.motion.models",
        "metrics": "",
        "plot_attention": "mlmethods.motion.plots",
        "plot_counts": "mlmethods.motion.plots",
        "plot_timeline": "mlmethods.motion.plots",
        "postprocess": "",
        "preprocess": "",
        "report": "",
        "windows": "",
    },
)
