"""A plot of lines as SVG, without a library: the horizontal axis is logarithmic, the other where it must be."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 320, 60, 40, 36, 130
COLOURS = ["#1f6feb", "#2da44e", "#bf8700", "#8250df"]


def lines(title, series):
    """Draws one line for each name in `series`, a list of pairs of x and y."""
    xs = sorted({x for points in series.values() for x, _ in points})
    ys = [y for points in series.values() for _, y in points]
    least, top = min(ys) / 1.1, max(ys) * 1.1
    is_wide = top > 100 * least
    place = {x: at / max(len(xs) - 1, 1) for at, x in enumerate(xs)}
    if xs[0] > 0:
        span = math.log(xs[-1] / xs[0]) or 1
        place = {x: math.log(x / xs[0]) / span for x in xs}
    at_x = lambda x: LEFT + place[x] * (WIDTH - LEFT - RIGHT)
    share = lambda y: math.log(y / least) / math.log(top / least) if is_wide else y / top
    at_y = lambda y: HEIGHT - BOTTOM - share(y) * (HEIGHT - BOTTOM - TOP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           f'font-family="sans-serif" font-size="12" role="img">',
           f"<title>{escape(title)}</title>", f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
           f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>']
    for step in range(5):
        y = least * (top / least) ** (step / 4) if is_wide else top * step / 4
        out += [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}" stroke="#ddd"/>',
                f'<text x="{LEFT - 8}" y="{at_y(y) + 4:.1f}" text-anchor="end">{short(y)}</text>']
    out += [f'<text x="{at_x(x):.1f}" y="{HEIGHT - 18}" text-anchor="middle">{short(x)}</text>' for x in xs]
    for (name, points), colour in zip(series.items(), COLOURS):
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in sorted(points))
        last = max(points)
        out += [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
                f'<text x="{at_x(last[0]) + 8:.1f}" y="{at_y(last[1]) + 4:.1f}" fill="{colour}">{escape(name)}</text>']
    return "\n".join([*out, "</svg>", ""])


def short(number):
    """Writes a number with one letter for its thousands."""
    for letter in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.3g}{letter}"
        number /= 1000
    return f"{number:.3g}T"
