"""Broker service: cuts games into units, leases them, routes batches and weights, forwards logs."""
