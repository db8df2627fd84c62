"""Means with intervals, a panel for each setting, as SVG: no library needed."""

from xml.sax.saxutils import escape

LINE, WIDTH, LABELS, TOP = 16, 300, 230, 42


def write(path, panels, baseline):
    """panels: [(title, [(label, mean, half)])], the best first. A line marks the baseline's mean."""
    columns, rows = min(2, len(panels)), max(len(points) for _, points in panels)
    height = TOP + LINE * rows + 36
    parts = []
    for index, (title, points) in enumerate(panels):
        x, y = (index % columns) * (LABELS + WIDTH + 20), (index // columns) * height
        parts += _panel(x + LABELS, y, title, points, baseline)
    size = (columns * (LABELS + WIDTH + 20), -(-len(panels) // columns) * height)
    path.write_text(_page(*size, parts))


def bars(path, title, rows):
    """A bar for each row (label, value, text), values of at least 0; the longest has the whole width."""
    height, longest = TOP + LINE * len(rows) + 8, max(max(value for _, value, _ in rows), 1e-9)
    parts = [f'<text x="{LABELS}" y="22" font-size="13" font-weight="bold">{escape(title)}</text>']
    for index, (label, value, text) in enumerate(rows):
        y, length = TOP + LINE * index, WIDTH * max(value, 0) / longest
        parts.append(f'<text x="{LABELS - 8}" y="{y + 4}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<rect x="{LABELS}" y="{y - 5}" width="{length:.1f}" height="10" fill="#247"/>')
        parts.append(f'<text x="{LABELS + length + 4:.1f}" y="{y + 4}" fill="#555">{escape(text)}</text>')
    path.write_text(_page(LABELS + WIDTH + 80, height, parts))


def _page(width, height, parts):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(left, top, title, points, baseline):
    bottom = top + TOP + LINE * len(points)
    yield f'<text x="{left}" y="{top + 22}" font-size="13" font-weight="bold">{escape(title)}</text>'
    for percent in range(0, 101, 20):
        x = left + WIDTH * percent / 100
        yield f'<line x1="{x}" y1="{top + TOP - 8}" x2="{x}" y2="{bottom}" stroke="#ddd"/>'
        yield f'<text x="{x}" y="{bottom + 14}" text-anchor="middle" fill="#555">{percent}%</text>'
    for row, (label, mean, half) in enumerate(points):
        x, y = left + WIDTH * mean, top + TOP + LINE * row
        half = half if half == half else 0
        low, high = max(left, x - WIDTH * half), min(left + WIDTH, x + WIDTH * half)
        color = "#c33" if label == baseline else "#247"
        if label == baseline:
            dashed = f'stroke="{color}" stroke-dasharray="3"'
            yield f'<line x1="{x:.1f}" y1="{top + TOP - 8}" x2="{x:.1f}" y2="{bottom}" {dashed}/>'
        yield f'<text x="{left - 8}" y="{y + 4}" text-anchor="end" fill="{color}">{escape(label)}</text>'
        yield f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" stroke="{color}"/>'
        yield f'<circle cx="{x:.1f}" cy="{y}" r="3" fill="{color}"/>'
