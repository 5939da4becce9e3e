"""Kafka, thin and typed: the only package that imports confluent_kafka.

Every process uses it; a client is made in the process that uses it, after the fork.
"""
