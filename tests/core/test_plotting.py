from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from mlmethods.common.plotting import INK, PALETTE, new_figure, save_figure, style


def draw():
    with style():
        figure, axes = new_figure(size=(4, 2))
        for slope in range(3):
            axes.plot([0, 1], [0, slope])
        axes.set_title("Lines")
    return figure


def test_the_style_ends_with_the_block() -> None:
    before = dict(mpl.rcParams)
    with style():
        assert mpl.rcParams["text.color"] == INK
    assert dict(mpl.rcParams) == before


def test_figures_stay_out_of_pyplot() -> None:
    from matplotlib import pyplot

    draw()
    assert pyplot.get_fignums() == []


def test_png_is_white_and_svg_transparent_and_both_repeat(tmp_path: Path) -> None:
    from matplotlib.image import imread

    paths = save_figure(draw(), tmp_path / "lines.v1")
    assert [path.name for path in paths] == ["lines.v1.png", "lines.v1.svg"]
    first = [path.read_bytes() for path in paths]
    assert [
        path.read_bytes() for path in save_figure(draw(), tmp_path / "lines.v1")
    ] == (first)
    image = imread(paths[0])
    assert image.shape[:2] == (320, 640)
    np.testing.assert_array_equal(image[0, 0], [1, 1, 1, 1])
    svg = paths[1].read_text()
    assert PALETTE[0] in svg
    assert INK in svg
    assert "#ffffff" not in svg


def _luminance(color: str) -> float:
    rgb = np.array(mpl.colors.to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("color", PALETTE)
@pytest.mark.parametrize("background", ["#ffffff", "#171e26"])
def test_lines_stand_out_from_light_and_dark_pages(color: str, background: str) -> None:
    high, low = sorted((_luminance(color), _luminance(background)), reverse=True)
    assert (high + 0.05) / (low + 0.05) > 2.0


def test_neighboring_colors_differ_without_red_green_vision() -> None:
    # Vienot, Brettel and Mollon (1999): deuteranopia, on linear RGB.
    deuteranopia = np.array(
        [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]
    )
    colors = np.array([mpl.colors.to_rgb(c) for c in PALETTE[:4]]) ** 2.2
    seen = np.clip(colors @ deuteranopia.T, 0, 1) ** (1 / 2.2)
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    assert distances[~np.eye(4, dtype=bool)].min() > 0.15
