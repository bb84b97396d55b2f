#!/usr/bin/env python3
"""Draws docs/session.svg: a terminal in which the demo really ran.

usage: scripts/picture.py PROGRAM [FILE]     (PROGRAM: target/release/nexudus-proxy)

Starts `PROGRAM demo` and pastes commands as a reader would, then writes what the terminal showed as an SVG.
Needs curl, and port 6398 free. No service and no library beyond Python's own takes part.
"""

import html
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

COLUMNS = 100
FONT_SIZE = 14
CHARACTER_WIDTH = 8.43
LINE_HEIGHT = 20
MARGIN = 20
TITLE_HEIGHT = 34

DEMO = "nexudus-proxy demo --token-life 5s &"
LIST = "curl -s 'http://localhost:6398/api/spaces/coworkers?size=3' | grep -o '\"FullName\":\"[^\"]*\"'"
WRITE = (
    "curl -s -H 'Content-Type: application/json' -d '{\"FullName\": \"Grace Example\"}' \\\n"
    "       http://localhost:6398/api/spaces/coworkers | grep -o '\"Message\":\"[^\"]*\"'"
)

# SGR code → colour, as terminals with a dark background have them.
COLOURS = {
    "31": "#f47067",
    "32": "#8ddb8c",
    "33": "#f0c674",
    "34": "#6cb6ff",
    "35": "#dcbdfb",
    "36": "#76d9e6",
    "2": "#8b949e",
}
SGR = re.compile(r"\x1b\[[0-9;]*m")
TEXT = "#d1d7e0"
PROMPT = "#8ddb8c"


class Terminal:
    """The lines that a terminal shows, in the order in which they arrive."""

    def __init__(self):
        self.lines = []
        self.changed = threading.Condition()

    def show(self, line, is_typed=False):
        with self.changed:
            self.lines.append((line, is_typed))
            self.changed.notify_all()

    def read(self, stream):
        for line in stream:
            self.show(line.rstrip("\n"))

    def wait_for(self, pattern):
        """Returns once a line matches the pattern."""
        with self.changed:
            found = self.changed.wait_for(
                lambda: any(re.search(pattern, SGR.sub("", line)) for line, _ in self.lines), 60
            )
        if not found:
            sys.exit(f"the demo did not print: {pattern}")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program = pathlib.Path(sys.argv[1]).resolve()
    target = pathlib.Path(__file__).resolve().parent.parent / "docs/session.svg"
    target = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else target
    target.write_text(draw(record(program)), encoding="utf-8")


def record(program):
    """Runs the session and returns what the terminal showed."""
    terminal = Terminal()
    terminal.show(DEMO, is_typed=True)
    demo = subprocess.Popen(
        [program, "--color", "always", *DEMO.removesuffix(" &").split()[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env=os.environ | {"TERM": "xterm-256color"},
    )
    reader = threading.Thread(target=terminal.read, args=(demo.stdout,))
    reader.start()
    try:
        terminal.wait_for("Ctrl-C ends it")
        if not any("localhost:6398" in line for line, _ in terminal.lines):
            sys.exit("port 6398 is taken: the picture would show another one")
        terminal.wait_for("logged in.*generation")
        paste(terminal, LIST)
        terminal.wait_for("GET /api/spaces/coworkers")
        terminal.wait_for("token renewed")
        paste(terminal, WRITE)
        terminal.wait_for("POST /api/spaces/coworkers")
        time.sleep(0.2)
        lines = list(terminal.lines)
    finally:
        demo.terminate()
        demo.wait()
        reader.join()
    return lines


def paste(terminal, command):
    """Shows a command, runs it and shows its output."""
    terminal.show(command, is_typed=True)
    output = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in output.splitlines():
        terminal.show(line)


def draw(lines):
    """Returns the picture of a terminal with these lines."""
    rows = []
    for line, is_typed in lines:
        for number, part in enumerate(line.split("\n")):
            rows.extend(wrapped(part, is_typed and number == 0, is_typed))
    while rows and not rows[-1]:
        rows.pop()
    width = round(COLUMNS * CHARACTER_WIDTH + 2 * MARGIN)
    height = TITLE_HEIGHT + len(rows) * LINE_HEIGHT + MARGIN
    texts = [
        f'<text x="{MARGIN}" y="{TITLE_HEIGHT + (row + 1) * LINE_HEIGHT - 6}">{"".join(spans)}</text>'
        for row, spans in enumerate(rows)
        if spans
    ]
    dots = [
        f'<circle cx="{MARGIN + 6 + 20 * place}" cy="17" r="6" fill="{colour}"/>'
        for place, colour in enumerate(["#f47067", "#f0c674", "#8ddb8c"])
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            f' width="{width}" height="{height}" role="img">',
            "<title>A session with the demo of nexudus-proxy</title>",
            "<!-- Made by scripts/picture.py from a real run. -->",
            f'<rect width="{width}" height="{height}" rx="8" fill="#22272e"/>',
            *dots,
            f'<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\','
            f' \'Liberation Mono\', monospace" font-size="{FONT_SIZE}" fill="{TEXT}">',
            *texts,
            "</g>",
            "</svg>",
            "",
        ]
    )


def wrapped(line, has_prompt, is_typed):
    """Returns the rows of a line, each a list of coloured spans."""
    spans = list(coloured(line))
    if is_typed:
        spans = [("#f0f3f6", line)]
    if has_prompt:
        spans.insert(0, (PROMPT, "$ "))
    rows, row, column = [], [], 0
    for colour, text in spans:
        while text:
            piece, text = text[: COLUMNS - column], text[COLUMNS - column :]
            row.append(span(colour, piece))
            column += len(piece)
            if text:
                rows.append(row)
                row, column = [span(TEXT, "    ")], 4
    return [*rows, row]


def coloured(line):
    """Splits a line at its SGR sequences into pairs of a colour and a text."""
    colour = TEXT
    for part in re.split(f"({SGR.pattern})", line):
        if part.startswith("\x1b["):
            codes = part[2:-1].split(";")
            colour = next((COLOURS[code] for code in codes if code in COLOURS), TEXT)
        elif part:
            yield colour, part


def span(colour, text):
    # Renderers of SVG merge plain spaces.
    text = html.escape(text, quote=False).replace(" ", "\u00a0")
    return text if colour == TEXT else f'<tspan fill="{colour}">{text}</tspan>'


main()
