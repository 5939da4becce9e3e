"""The commands of ``reportctl``, one module each: ``add_parser(subparsers)`` and ``run(args)``."""
