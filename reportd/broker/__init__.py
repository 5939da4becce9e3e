"""Topics, consumer, producer, admin: a thin typed layer. Only here: confluent_kafka."""
