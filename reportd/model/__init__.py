"""The records that travel through Kafka, and the words they are made of.

Imports nothing of ours but the errors.
"""
