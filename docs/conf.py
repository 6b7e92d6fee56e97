"""Configuration of the documentation; ``make docs`` builds it without a network."""

import csv
import json
import os
import sys
from pathlib import Path

from mlmethods import __version__

ROOT = Path(__file__).resolve().parents[1]
# The backends of a plain checkout, where nothing was installed.
sys.path[:0] = [str(ROOT / "backends" / "jax"), str(ROOT / "backends" / "numpy")]

project = "mlmethods"
author = "The mlmethods developers"
copyright = "the mlmethods developers"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinxcontrib.bibtex",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
# The sources of the gallery; what runs from them is in gallery_built.
exclude_patterns = ["gallery"]
templates_path = ["_templates"]
default_role = "code"
bibtex_bibfiles = ["references.bib"]

autosummary_generate = True
autodoc_typehints = "none"
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "gallery_built",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "capture_repr": (),
    "download_all_examples": False,
    "show_memory": False,
}
numpydoc_show_class_members = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# The build must not need a network unless it is asked for.
if os.environ.get("MLMETHODS_DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "jax": ("https://docs.jax.dev/en/latest", None),
    }

html_theme = "pydata_sphinx_theme"
html_title = f"mlmethods {release}"
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False}


def write_ratios(app):
    """Write the table of the benchmarks page from the ratios that were recorded."""
    baseline = json.loads((ROOT / "benchmarks/results/baseline.json").read_text())
    rows = [("case", "size", "peer", "ours / peer", "95 % interval", "first call")]
    for row in baseline["ratios"]:
        median, low, high = row["cpu"]
        size = ", ".join(f"{name}={value}" for name, value in row["size"].items())
        interval = f"{low:.2f} to {high:.2f}"
        first = f"{row['first_cpu'][0]:.2f}"
        rows.append((row["case"], size, row["peer"], f"{median:.2f}", interval, first))
    table = ROOT / "docs" / "generated_ratios.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def setup(app):
    """Connect what is made at build time."""
    app.connect("builder-inited", write_ratios)
