"""The embedded transport, ZeroMQ: links straight to the broker's seven ports."""
