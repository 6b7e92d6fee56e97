"""Discovery and selection of backends.

A backend is an entry point in the group ``mlmethods.backends``. The choice for one
call is, in this order: the argument ``backend=``, the context
:func:`use_backend`, the environment variable ``MLMETHODS_BACKEND`` (read at the time
of the call), and the available backend of the highest priority that can run it.
"""

from mlmethods.backend._registry import list_backends, refresh_backends
from mlmethods.backend._select import get_backend, use_backend

__all__ = ["get_backend", "list_backends", "refresh_backends", "use_backend"]
