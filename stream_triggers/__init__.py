"""Triggers on Kafka: when these things happen, run this task with these arguments, exactly once."""
