"""A run on one page: figures, pictures, tables, and what they were made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cashup.errors import UsageError
from cashup.research.reporting import tables
from cashup.research.reporting.card import HEADLINES, headline
from cashup.research.reporting.plot import figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from cashup.research.performance import Performance

Section = tuple[str, "str | go.Figure"]
"""A heading (empty: none), and HTML or a picture under it."""

_FOLDER = Path(__file__).parent
STYLE = (_FOLDER / "tearsheet.css").read_text()
SCRIPT = (_FOLDER / "tearsheet.js").read_text()
CONFIG = {"displaylogo": False, "responsive": True, "displayModeBar": False}


class TearSheet:
    """The page of a run. The last line of a cell shows it; `save` writes it as HTML or PNG."""

    def __init__(
        self,
        result: Performance,
        *,
        title: str | None = None,
        notes: Sequence[str] = (),
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self.result = result
        self.title = title or result.heading
        self.notes = [*notes, *result.notes]
        self.facts = result.facts() | dict(facts or {})

    def save(self, path: str | Path) -> Path:
        """Write it to `path` and return that: `.html` is one self-contained page, `.png` a picture.

        Raises UsageError for any other ending.
        """
        path = Path(path)
        if path.suffix == ".html":
            path.write_text(self.to_html(), encoding="utf-8")
        elif path.suffix == ".png":
            from cashup.research.reporting.png import write_png

            write_png(self.result, path, title=self.title)
        else:
            raise UsageError(f"a tear sheet is written as .html or .png; {path.name} is neither")
        return path

    def to_html(self) -> str:
        """The page as one document; plotly's script is in it once, and nothing is fetched from anywhere."""
        from plotly.offline import get_plotlyjs

        parts = "".join(
            f"<section>{f'<h2>{escape(title)}</h2>' if title else ''}{_as_html(content)}</section>"
            for title, content in self.sections()
        )
        head = (
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{STYLE}</style><script>{get_plotlyjs()}</script>"
        )
        body = f"<main>{self._top()}{parts}</main><script>{SCRIPT}</script>"
        return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'

    def sections(self) -> list[Section]:
        """What stands under the headline figures, in order."""
        result = self.result
        stats = {name: value for name, value in result.stats().items() if name not in ("Start", "End")}
        made: list[Section] = [("Equity and drawdown", _bare(result, "equity"))] if len(result.equity) else []
        made.append(("Beside it", tables.beside(result)))
        if len(result.equity):
            made += self._of_bars()
        made += [
            ("Long and short", tables.by_side(result)),
            ("Symbols", tables.per_symbol(result)),
            ("Costs", tables.costs(result)),
            ("Statistics", f'<div class="columns">{tables.pairs({str(k): v for k, v in stats.items()})}</div>'),
            ("Made of", tables.pairs(self.facts) if self.facts else ""),
        ]
        return [(title, content) for title, content in made if not isinstance(content, str) or content]

    def _of_bars(self) -> list[Section]:
        result = self.result
        rolling = _bare(result, "rolling")
        window = str(rolling.layout.meta)
        return [
            ("Return by month [%]", tables.months(result.monthly())),
            (f"Sharpe and volatility, rolling {window}", rolling),
            ("Deepest drawdowns", tables.underwater(result)),
            ("The newest trades", _bare(result, "trades")),
            ("Returns", _bare(result, "distribution")),
            ("Exposure", _bare(result, "exposure")),
        ]

    def _top(self) -> str:
        stats = self.result.stats()
        span = (
            f"{stats['Start']:%Y-%m-%d %H:%M} to {stats['End']:%Y-%m-%d %H:%M} UTC, " if len(self.result.equity) else ""
        )
        heads = "".join(
            f'<div><span class="soft">{name}</span><b class="{_sign(label, stats[label])}">'
            f"{headline(label, stats[label])}</b></div>"
            for label, name in HEADLINES.items()
        )
        said = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return (
            f"<h1>{escape(self.title)}</h1>"
            f'<p class="soft">{span}{len(self.result.equity):,} bars. Yearly figures: {stats["Annualisation"]}.</p>'
            f'<section class="heads">{heads}</section>'
            + (f"<section><h2>What to know</h2><ul>{said}</ul></section>" if said else "")
        )

    def _ipython_display_(self) -> None:
        """Show it piece by piece; pictures as plotly's mime type, so that its script is not copied into notebooks."""
        from IPython.display import display_html

        display: Any = display_html
        display(f'<style>{_scoped(STYLE)}</style><div class="cashup-sheet">{self._top()}</div>', raw=True)
        for title, content in self.sections():
            heading = f"<h2>{escape(title)}</h2>" if title else ""
            html = heading + (content if isinstance(content, str) else "")
            display(f'<div class="cashup-sheet"><section>{html}</section></div>', raw=True)
            if not isinstance(content, str):
                content.show()

    def __repr__(self) -> str:
        return f"<TearSheet {self.title}>"


def _bare(result: Performance, kind: str) -> go.Figure:
    """A picture under a heading of the page: without one of its own."""
    made = figure(result, kind)
    return made.update_layout(title=None, margin_t=34)


def _as_html(content: Any) -> str:
    if isinstance(content, str):
        return content
    return str(content.to_html(full_html=False, include_plotlyjs=False, config=CONFIG))


def _sign(label: str, value: Any) -> str:
    if label not in ("Total Return [%]", "Benchmark Return [%]", "CAGR [%]") or value != value:
        return ""
    return "gain" if value >= 0 else "loss"


def _scoped(css: str) -> str:
    """The page's style for a part of a notebook: nested under one class, so that it touches nothing else."""
    return f".cashup-sheet {{ {css.replace(':root', '&').replace('body', '&')} }}"
