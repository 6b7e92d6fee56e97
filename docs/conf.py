"""Configuration of the documentation; ``make docs`` builds it without a network."""

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
]
exclude_patterns = []
templates_path = ["_templates"]
default_role = "code"
bibtex_bibfiles = ["references.bib"]

autosummary_generate = True
# The public names of a package are its lazy namespace, which holds no objects yet.
autosummary_ignore_module_all = False
autodoc_typehints = "none"
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
