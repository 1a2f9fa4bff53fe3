"""Pages from templates: escaped throughout, because names of videos, remarks and reasons come from outside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mulde.names import shown


def render(template: str, room: str = "mulde.report", /, **content: Any) -> str:
    """One of the `templates/` of a room with its content."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader(room),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(template).render(content)


def run_facts(record: Mapping[str, Any], settings: str) -> dict[str, Any]:
    """How a run was made: `facts`, which fit in a line, and `texts`, which pages fold. settings: settings.toml."""
    lines = {name: value for name, value in record.items() if not isinstance(value, Mapping)}
    texts = {
        name: json.dumps(value, indent=2, ensure_ascii=False) for name, value in record.items() if name not in lines
    }
    return {
        "facts": [(name, " ".join(map(str, v)) if isinstance(v, list) else str(v)) for name, v in lines.items()],
        "texts": [*([("settings.toml", settings)] if settings else []), *texts.items()],
    }
