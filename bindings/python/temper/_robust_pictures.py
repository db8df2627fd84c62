"""Pictures of what the automatic mode found, as SVG: no library needed."""

import pathlib
from xml.sax.saxutils import escape

import numpy as np

WIDTH, HEIGHT, MARGIN = 420, 220, 50
BELIEVED, SUSPECTED = "#247", "#c33"


def write(report, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"losses.svg": _losses(report)}
    if report.classes is not None:
        pictures["labels.svg"] = _labels(report)
    for name, picture in pictures.items():
        (folder / name).write_text(picture)
    return [folder / name for name in pictures]


def _losses(report):
    """A histogram of the losses with the mixture fitted to them; each bar parted by how many samples are probably
    wrong."""
    is_regression = report.classes is None
    values = np.abs(report.losses) if is_regression else report.losses
    known = np.isfinite(values)
    values, wrong = values[known], report.suspicion[known]
    limit = max(np.quantile(values, 0.99), 1e-9) if len(values) else 1.0
    edges = np.linspace(0, limit, 41)
    place = np.clip(np.digitize(values, edges) - 1, 0, 39)
    total, bad = np.bincount(place, minlength=40), np.bincount(place, weights=wrong, minlength=40)
    high, step = max(total.max(), 1), WIDTH / 40
    parts = []
    for index in range(40):
        x, y = MARGIN + index * step, MARGIN + HEIGHT
        for count, color in ((total[index], BELIEVED), (bad[index], SUSPECTED)):
            tall = HEIGHT * (count / high) ** 0.5
            parts.append(
                f'<rect x="{x:.1f}" y="{y - tall:.1f}" width="{step - 1:.1f}" height="{tall:.1f}" fill="{color}"/>'
            )
    if report.loss_mixture is not None:
        x = np.linspace(0, limit, 200)
        for weight, mean, deviation in report.loss_mixture.T:
            curve = weight * np.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))
            tall = HEIGHT * np.minimum(curve * len(values) * limit / 40 / high, 1) ** 0.5
            points = " ".join(f"{MARGIN + WIDTH * a / limit:.1f},{MARGIN + HEIGHT - b:.1f}" for a, b in zip(x, tall))
            parts.append(f'<polyline points="{points}" fill="none" stroke="#e90" stroke-width="1.5"/>')
    for tick in range(5):
        x = MARGIN + WIDTH * tick / 4
        parts.append(_text(x, MARGIN + HEIGHT + 16, f"{limit * tick / 4:.3g}", "middle"))
    what = "size of the residual" if is_regression else "loss of the given label"
    parts.append(_text(MARGIN + WIDTH / 2, MARGIN + HEIGHT + 36, f"{what}, samples not learnt from", "middle"))
    parts.append(
        _text(MARGIN, MARGIN - 14, f"heights are square roots, the highest of {high} samples; red: probably wrong")
    )
    return _svg(WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN, "Losses", parts)


def _labels(report):
    """Given labels against believed ones."""
    classes = report.classes
    size, cell, left = len(classes), 30 if len(classes) <= 20 else 12, 110
    table = np.zeros((size, size), int)
    ids = {label: index for index, label in enumerate(classes.tolist())}
    believed = np.array([ids[label] for label in report.believed.tolist()])
    np.add.at(table, (report.given, believed), 1)
    parts = []
    for row in range(size):
        parts.append(_text(left - 6, MARGIN + row * cell + cell / 2 + 4, str(classes[row]), "end"))
        parts.append(_text(left + row * cell + cell / 2, MARGIN + size * cell + 16, str(classes[row]), "middle"))
        for column in range(size):
            share = table[row, column] / max(table[row].sum(), 1)
            color = BELIEVED if row == column else SUSPECTED
            box = f'x="{left + column * cell}" y="{MARGIN + row * cell}" width="{cell - 1}" height="{cell - 1}"'
            parts.append(f'<rect {box} fill="{color}" fill-opacity="{0.05 + 0.95 * share:.3f}"/>')
            if table[row, column] and size <= 20:
                color = "white" if share > 0.5 else "#222"
                x, y = left + column * cell + cell / 2, MARGIN + row * cell + cell / 2 + 4
                parts.append(_text(x, y, str(table[row, column]), "middle", color))
    parts.append(_text(left + size * cell / 2, MARGIN + size * cell + 36, "believed", "middle"))
    return _svg(
        left + size * cell + MARGIN, size * cell + 2 * MARGIN, "Given labels (rows) against believed ones", parts
    )


def _text(x, y, text, anchor="start", color="#222"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{escape(text)}</text>'


def _svg(width, height, title, parts):
    head = _text(10, 22, title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join([head, *parts]) + "\n</svg>\n"
    )
