"""A hook of MkDocs: pages that stand above docs/, and links that serve both the repository and the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# Their places in the repository and on the site.
ABOVE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "docker/README.md": "docker.md",
    "CITATION.cff": "CITATION.cff",
    "LICENSE": "LICENSE.txt",
}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Any, config: Any) -> Any:
    """Add the files above docs/ under their names on the site, and the examples as they are."""
    for source, page in ABOVE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for example in sorted(path for path in (ROOT / "examples").iterdir() if path.is_file()):
        files.append(File.generated(config, f"examples/{example.name}", abs_src_path=str(example)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    site = page.file.src_uri
    repository = next((source for source, name in ABOVE.items() if name == site), f"docs/{site}")

    def turned(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(repository), link[1]))
        place = ABOVE.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(place, posixpath.dirname(site) or ".")

    return LINK.sub(turned, markdown)
