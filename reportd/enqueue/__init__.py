"""Accounts x reports x dates become messages; plan is pure, spark.py does. Only here: pyspark."""
