"""Arrow batches become complete files: formats, staging, receipts, publish. Only here: pyarrow."""
