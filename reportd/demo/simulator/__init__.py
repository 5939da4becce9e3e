"""A server on loopback that plays partners: limits, faults, formats, pages; and writes it down."""
