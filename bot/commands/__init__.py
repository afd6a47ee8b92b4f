"""One module a command, of its name: ``import_`` for ``import``, ``live`` for a session without any.

Each has ``EXAMPLES``, perhaps ``ABOUT``, for its help; ``add_arguments(parser)``; frozen ``Options`` made from what was
parsed; and ``run(options, config, strategies) -> int``. The module is imported for its help too, so that what only a
running command needs is imported as it runs.
"""
