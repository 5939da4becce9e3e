"""reportd: downloads marketing reports that are asked for in Kafka."""

__version__ = "0.1.0"
