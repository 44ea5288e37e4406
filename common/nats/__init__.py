"""The transport onto a NATS cluster with JetStream: links, and what the broker needs to make a run there."""
