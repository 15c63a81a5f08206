"""What is published of each kind of results: a page, plots, and a part of docs/performance.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench import tables
from benchmarks.compare import page as compare_page
from benchmarks.gate import demonstration_page
from benchmarks.latency import page as latency_page
from benchmarks.pages import charts
from benchmarks.pages.results_file import dumped


@dataclass(frozen=True, slots=True)
class Publication:
    """One kind of results, ``<name>.json``.

    ``text`` is what the page says under its title, ``in_short`` what stands in docs/performance.md between the markers
    of that name, None if nothing does. ``session`` is how to make such results.
    """

    name: str
    session: str
    title: str
    text: Callable[[Mapping[str, Any]], str]
    in_short: Callable[[Mapping[str, Any]], str] | None = None
    plots: Callable[[Mapping[str, Any]], dict[str, str]] = lambda results: {}
    schemas: tuple[int, ...] = (1,)
    says_how_made: bool = False  # whether the text does so

    @property
    def json_name(self) -> str:
        """In the folder of the results."""
        return f"{self.name}.json"

    @property
    def page_name(self) -> str:
        """Beside it."""
        return f"{self.name.upper()}.md"

    def page(self, results: Mapping[str, Any]) -> str:
        """The page, without the plots."""
        made = "" if self.says_how_made else f"Made from {self.json_name} by `nox -s report`; do not edit.\n\n"
        text = self.text(results).replace("\n### ", "\n## ")  # the tables are a level deeper where they are a part
        return f"# {self.title}\n\n{made}{text}"

    def documents(self, results: Mapping[str, Any]) -> dict[str, str]:
        """File names and contents of the page and the plots."""
        plots = self.plots(results)
        text = self.page(results)
        if plots:
            text = text.rstrip("\n") + "\n\n" + "\n\n".join(f"![{name}]({name})" for name in plots) + "\n"
        return {self.page_name: text, **plots}

    def part(self, results: Mapping[str, Any] | None) -> str:
        """What docs/performance.md says of them."""
        assert self.in_short is not None
        if results is None:
            return f"No run is published yet: `nox -s {self.session}` makes one."
        plots = "\n\n".join(f"![{name}](../results/{name})" for name in self.plots(results))
        more = f"All of it: [results/{self.page_name}](../results/{self.page_name})."
        return "\n\n".join(filter(None, [plots, self.in_short(results).strip(), more]))


PUBLICATIONS = (
    Publication("bench", "bench", "Benchmarks", tables.text, tables.text, charts.of_bench, (1, 2)),
    Publication(
        "bench-apart",
        "bench -- --placement apart",
        "Benchmarks, the Redis server on a core of its own",
        tables.text,
        schemas=(2,),
    ),
    Publication("compare", "compare", "Beside its peers", compare_page.text, compare_page.in_short, charts.of_compare),
    Publication("latency", "latency", "Latency", latency_page.text, latency_page.in_short, charts.of_latency),
    Publication("gate", "gate_demonstration", "Does the gate work?", demonstration_page.text, says_how_made=True),
)


def publication(name: str) -> Publication:
    """The one of that name."""
    return next(kind for kind in PUBLICATIONS if kind.name == name)


def publish(name: str, results: Mapping[str, Any], folder: Path) -> None:
    """Write the results of that kind, their page and their plots."""
    kind = publication(name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / kind.json_name).write_text(dumped(results), encoding="utf-8")
    for file_name, content in kind.documents(results).items():
        (folder / file_name).write_text(content, encoding="utf-8")
