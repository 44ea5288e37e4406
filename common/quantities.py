"""Quantities as a person reads them: counts, spans of time and sizes."""


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural where that is due: `1 unit`, `2 units`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """Return a span of time as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def size(size_bytes: float) -> str:
    """Return a size in powers of ten, such as `1.6 MB`."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = 0
    while size_bytes >= 999.5 and power < len(units) - 1:
        size_bytes /= 1000
        power += 1
    figures = ".1f" if power and size_bytes < 99.95 else ".0f"
    return f"{size_bytes:{figures}} {units[power]}"
