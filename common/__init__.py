"""What every service shares: words, messages, links, settings, logging. Imports no service."""
