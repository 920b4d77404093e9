"""Lets a server in a process of its own know the system of `write_bright_bundle`, which no file may name.

Python imports this module first where its folder is on PYTHONPATH; it waits for the table of systems.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec


class Waiting(MetaPathFinder):
    """Adds an entry to the table of systems once that is imported."""

    def find_spec(self, name, path, target=None):
        if name != "amsam_monai.bundles.network":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        run = spec.loader.exec_module

        def run_and_add(module):
            run(module)
            from tests.segment.toy_net import bright_system

            module.SYSTEMS["bright"] = bright_system

        spec.loader.exec_module = run_and_add
        return spec


sys.meta_path.insert(0, Waiting())
