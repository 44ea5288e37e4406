"""Learner service: stores one agent's experience, trains the agent and publishes its weights."""
