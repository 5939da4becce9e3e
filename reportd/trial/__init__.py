"""One request against a partner, without Kafka: how a partner file is developed."""
