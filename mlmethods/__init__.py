"""Research methods of machine learning as fast, interchangeable parts.

Names load on first use: importing this package costs little more than NumPy.
"""

from mlmethods._lazy import lazy_namespace
from mlmethods._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "cli": "",
        "datasets": "",
        "errors": "",
        "interfaces": "",
        "kernels": "",
        "rfm": "",
        "testing": "",
        "get_backend": "mlmethods.backend",
        "list_backends": "mlmethods.backend",
        "refresh_backends": "mlmethods.backend",
        "use_backend": "mlmethods.backend",
        "load": "mlmethods.common.checkpoint",
    },
    extra=("__version__",),
)
