"""Performance-regression tests for model services: open-loop load, SLOs and statistical verdicts, in pytest.

The public names stand in ``__init__.pyi``, with the module that each comes from, and are imported on first use: this
package is loaded in every pytest run of everyone who has it installed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
