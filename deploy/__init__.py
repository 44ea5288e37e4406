"""The assembly: the one package that may import every service."""
