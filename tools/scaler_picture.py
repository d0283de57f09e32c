"""scaler_picture: draws the CSV files of scaler_simulation_test as one SVG.

    build/src/model/model_scaler_simulation_test --csv FOLDER
    python3 tools/scaler_picture.py FOLDER > docs/adaptive_allocations.svg

Three curves each over time: the load (requests a second), the allocations, the worst latency of each
ten seconds.
"""

import csv
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, GAP = 960, 90, 70, 40, 22
CURVES = [("rate", "load, req/s", "#2563eb"), ("allocations", "allocations", "#16a34a"),
          ("worst_latency", "worst latency, s", "#dc2626")]


def path(rows, key, x0, y0, most):
    end = float(rows[-1]["second"]) or 1.0
    points, last = [], None
    for row in rows:
        x = x0 + WIDTH * float(row["second"]) / end
        y = y0 + HEIGHT * (1 - float(row[key]) / most)
        if key == "allocations" and last is not None and y != last:
            points.append(f"{x:.1f},{last:.1f}")
        points.append(f"{x:.1f},{y:.1f}")
        last = y
    return " ".join(points)


def panel(name, rows, top):
    out = [f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{name}</text>']
    for i, (key, label, colour) in enumerate(CURVES):
        y0 = top + i * (HEIGHT + GAP)
        most = max(max(float(r[key]) for r in rows), 1e-9)
        out.append(f'<rect x="{LEFT}" y="{y0}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ddd"/>')
        out.append(f'<polyline points="{path(rows, key, LEFT, y0, most)}" fill="none" '
                   f'stroke="{colour}" stroke-width="1.2"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y0 + 10}" text-anchor="end">{most:.4g}</text>')
        out.append(f'<text x="{LEFT - 6}" y="{y0 + HEIGHT}" text-anchor="end">0</text>')
        out.append(f'<text x="{LEFT + 6}" y="{y0 + 12}" fill="{colour}">{label}</text>')
    minutes = float(rows[-1]["second"]) / 60
    out.append(f'<text x="{LEFT + WIDTH}" y="{top + 3 * (HEIGHT + GAP) - 8}" text-anchor="end">'
               f'{minutes:.0f} minutes</text>')
    return out


def main():
    files = sorted(Path(sys.argv[1]).glob("*.csv"))
    body, top = [], TOP
    for file in files:
        with open(file, newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
        body += panel(file.stem, rows, top)
        top += 3 * (HEIGHT + GAP) + 40
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEFT + 20}" height="{top}" '
          'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>')
    print("\n".join(body))
    print("</svg>")


if __name__ == "__main__":
    main()
