"""Pages that stand by themselves: HTML from templates of the packages, with nothing that is loaded from elsewhere.

`arena/page.html` is what all of them share: head, style sheet in light and dark, layout; `arena/page_parts.html`
holds what they are made of, tables and plots.
"""

from importlib.resources import files

import jinja2


def render(template: str, **values: object) -> str:
    """Return the page that `template`, PACKAGE/FILE, makes of the values; whatever they hold is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(values)


def _source(name: str) -> str:
    package, _, file = name.partition("/")
    return files(package).joinpath(file).read_text("utf-8")
