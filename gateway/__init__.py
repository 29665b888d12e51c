"""The gateway: decides, remembers, talks."""

__version__ = "0.1.0"
