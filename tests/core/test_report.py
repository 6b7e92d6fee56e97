from __future__ import annotations

import datetime
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mlmethods.common.plotting import new_figure, save_figure, style
from mlmethods.common.report import Panel, panel_from_result, write_page
from mlmethods.common.result import Check, RecipeResult
from mlmethods.errors import InvalidInputError

VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """A page as a set of facts; it fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        for name in ("src", "href", "xlink:href"):
            if name in values:
                self.links.append(values[name])

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def write(path: Path, *panels: Panel) -> Page:
    write_page(
        path,
        title="Title & more",
        lead="A <lead>",
        panels=panels,
        facts=[("machine", "one")],
        today=datetime.date(2026, 1, 2),
    )
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def figures(tmp_path: Path) -> tuple[Path, Path]:
    with style():
        figure, axes = new_figure(size=(4, 2))
        axes.plot([0, 1], [1, 0], marker="o")
        axes.set_title("Title")
    png, svg = save_figure(figure, tmp_path / "plot")
    return png, svg


def test_a_page_is_well_formed_and_loads_nothing(tmp_path: Path, figures) -> None:
    png, svg = figures
    panels = [
        Panel(anchor=f"panel-{i}", title="T", figures=(svg, png), passed=True)
        for i in range(2)
    ]
    page = write(tmp_path / "page.html", *panels)
    # Two copies of one figure keep their references apart.
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.startswith(("#", "data:image/png;base64,"))
        if link.startswith("#"):
            assert link[1:] in page.ids
    text = (tmp_path / "page.html").read_text()
    assert not re.search(r"url\((?!#)|@import|<script|<link", text)


def test_figures_take_their_ink_from_the_page(tmp_path: Path, figures) -> None:
    _, svg = figures
    write(tmp_path / "page.html", Panel(anchor="a", title="T", figures=(svg,)))
    page = (tmp_path / "page.html").read_text()
    drawing = page[page.index("<svg") : page.index("</svg>")]
    assert "var(--ink)" in drawing
    assert "var(--grid)" in drawing
    assert not re.search("#1c2733|#5f6b7a|#dde2e8", drawing)
    assert re.search(r'<svg role="img"[^>]*viewBox="0 0 288 144"', drawing)
    assert not re.search(r'<svg[^>]* width="', drawing)


def test_everything_of_a_result_is_shown_and_escaped(tmp_path: Path) -> None:
    (tmp_path / "errors.csv").write_text("name,mse\nfirst <b>,0.123456789\n")
    result = RecipeResult(
        name="rfm-x",
        title="Title <i>",
        claim="The claim",
        source="The source",
        criterion="The criterion",
        experiment="The experiment",
        mode="quick",
        seed=42,
        values={},
        passed=False,
        seconds=1.25,
        versions={},
        backend="numpy",
        device="cpu:0",
        dtype="float64",
        rows=(
            Check(
                claim="a", published="0.9", ours="0.95", tolerance="+-0.1", passed=True
            ),
            Check(claim="b", published="5", ours="7", tolerance="< 6", passed=False),
        ),
        figures=(),
        data=("errors.csv",),
        notes=("A note",),
    )
    panel = panel_from_result(
        result,
        tmp_path,
        kicker="Kicker",
        about="About",
        url="https://x.org",
        code="x = 1",
    )
    page = write(tmp_path / "page.html", panel)
    for part in (
        "Title & more",
        "A <lead>",
        "Title <i>",
        "The claim",
        "The source",
        "Fixed before the run: The criterion",
        "The experiment",
        "Kicker",
        "About",
        "a 0.9 0.95 +-0.1 ✓ holds",
        "b 5 7 < 6 ✗ fails",
        "criterion not met",
        "0 of 1 criterion met",
        "first <b> 0.12346",
        "A note",
        "x = 1",
        "seed 42",
        "device cpu:0",
        "2026-01-02",
    ):
        assert part in page.text, part
    assert "https://x.org" in page.links


@pytest.mark.parametrize(
    ("passed", "badge", "tally"),
    [
        (True, "criterion met", "2 of 2 criteria met"),
        (False, "criterion not met", "1 of 2 criteria met"),
        (None, "not run here", "1 not run here"),
    ],
)
def test_the_verdict_is_the_panel_s_and_the_page_counts(
    tmp_path: Path, passed, badge: str, tally: str
) -> None:
    panels = [
        Panel(anchor="a", title="A", passed=True),
        Panel(anchor="b", title="B", passed=passed, problem="the data is missing"),
    ]
    page = write(tmp_path / "page.html", *panels)
    assert tally in page.text
    assert badge in page.text[page.text.rindex(" B ") :]
    assert "the data is missing" in page.text


def test_other_figures_are_refused(tmp_path: Path) -> None:
    panel = Panel(anchor="a", title="A", figures=(tmp_path / "plot.pdf",))
    with pytest.raises(InvalidInputError, match=r"SVG or a PNG file, got .*plot\.pdf"):
        write(tmp_path / "page.html", panel)
