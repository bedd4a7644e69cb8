"""A tuning report as one self-contained HTML page: no script, font or image from elsewhere.

The document comes from ``training.tuning.report``; whatever it lacks is left out of the page. All text in it
is a tenant's own and is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2733;--soft:#5d6b7a;--line:#d9e0e7;--paper:#fff;--card:#f6f8fa;--good:#2a7f62;
--bad:#b23a48;--bar:#2e6fbb;--heat:46,111,187}
@media(prefers-color-scheme:dark){:root{--ink:#e4eaf0;--soft:#98a6b5;--line:#33404d;--paper:#141a21;--card:#1c242d;
--good:#5cc39c;--bad:#ee7c88;--bar:#6ba6ea;--heat:107,166,234}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:66rem;margin:0 auto;padding:2rem 1.2rem 4rem}
h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2.4rem 0 .6rem}p{margin:.4rem 0;max-width:46rem}
.soft{color:var(--soft)}.cards{display:flex;flex-wrap:wrap;gap:.8rem;margin:1.4rem 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1.1rem;min-width:9rem}
.card b{display:block;font-size:1.5rem;font-weight:650}.card span{color:var(--soft);font-size:.85rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{color:var(--soft);font-weight:600;font-size:.85rem}th:first-child,td:first-child{text-align:left}
table.words td,table.words th{text-align:left}tr.chosen td{font-weight:650}
.bar{display:inline-block;height:.6rem;border-radius:.3rem;background:var(--bar)}
.warn{border-left:.25rem solid var(--bad);padding:.3rem .8rem;margin:.4rem 0;
background:var(--card)}
.confusion td{padding:.1rem .35rem;border:1px solid var(--line);text-align:center;font-size:.78rem;min-width:1.2rem}
.confusion th{font-size:.75rem;border:0;padding:.1rem .35rem}.confusion th.side{text-align:right;max-width:16rem;
overflow:hidden;text-overflow:ellipsis}
"""


def report_page(report: Mapping[str, Any], title: str = "Tuning report") -> str:
    """Render a report.

    Args:
        report: The JSON document of a prompt version's report.
        title: Heading, such as tenant and version.

    Returns:
        A whole HTML document.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        _summary(report),
        _cards(report),
        *(f'<div class="warn">{escape(str(warning))}</div>' for warning in report.get("warnings") or []),
        _candidates(report.get("candidates") or []),
        _classes(report.get("classes") or []),
        _confusion(report.get("confusion")),
        _reliability(report.get("calibration") or {}),
        _suspects(report.get("suspects") or []),
        _needs_more(report.get("needs_more") or []),
        _skipped((report.get("data") or {}).get("skipped") or []),
        _seconds(report.get("seconds") or {}),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )


def _percent(value: Any, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * float(value):.{digits}f} %"


def _summary(report: Mapping[str, Any]) -> str:
    chosen = report.get("chosen") or {}
    blocks = " and ".join(str(block) for block in chosen.get("blocks") or [])
    text = f"{chosen.get('kind', '')} on {blocks}: {chosen.get('why', '')}." if chosen else ""
    origin = str((report.get("origin") or {}).get("why", ""))
    return "".join(f'<p class="soft">{escape(line)}</p>' for line in (text, origin) if line)


def _cards(report: Mapping[str, Any]) -> str:
    cards = []
    accuracy, data = report.get("accuracy"), report.get("data") or {}
    if accuracy:
        interval = f"{_percent(accuracy['low'])} to {_percent(accuracy['high'])}, 95 % interval"
        cards.append((_percent(accuracy["value"]), "held-out accuracy", interval))
    baseline = report.get("baseline")
    if baseline:
        error = f"± {100 * float(baseline['gain_error']):.1f}"
        gain = f"{100 * float(baseline['gain']):+.1f}"
        cards.append(
            (gain, "points over the baseline", f"{baseline['name']}: {_percent(baseline['accuracy'])}, {error}")
        )
    cards.append(
        (str(data.get("clips", 0)), "clips", f"{data.get('labels', 0)} labels, {data.get('groups', 0)} groups")
    )
    ece = (report.get("calibration") or {}).get("ece")
    if ece is not None:
        cards.append((_percent(ece), "calibration error", "expected, held out"))
    shown = (
        f'<div class="card"><span>{escape(what)}</span><b>{escape(value)}</b><span>{escape(more)}</span></div>'
        for value, what, more in cards
    )
    note = f'<p class="soft">{escape(accuracy["split"])}; {escape(accuracy["note"])}.</p>' if accuracy else ""
    return f'<div class="cards">{"".join(shown)}</div>{note}'


def _table(head: Sequence[str], rows: Iterable[str], *, kind: str = "") -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f'<div class="scroll"><table class="{kind}"><tr>{cells}</tr>{"".join(rows)}</table></div>'


def _row(cells: Sequence[str], kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<tr{attribute}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _bar(share: Any) -> str:
    return "" if share is None else f'<span class="bar" style="width:{6 * max(0.0, float(share)):.2f}rem"></span>'


def _candidates(candidates: Sequence[Mapping[str, Any]]) -> str:
    if not candidates:
        return ""
    rows = (
        _row(
            [
                escape(str(one["name"])),
                _percent(one["accuracy"]),
                f"{float(one['log_loss']):.3f}",
                "–" if one.get("strength") is None else f"{one['strength']:g}",
                "chosen" if one.get("chosen") else "",
            ],
            "chosen" if one.get("chosen") else "",
        )
        for one in candidates
    )
    return "<h2>What was tried</h2>" + _table(["candidate", "accuracy", "log loss", "strength", ""], rows)


def _classes(classes: Sequence[Mapping[str, Any]]) -> str:
    rows = (
        _row(
            [
                escape(str(one["label"])),
                str(one["clips"]),
                str(one["support"]),
                _percent(one["precision"]),
                _percent(one["recall"]),
                _bar(one["recall"]),
            ]
        )
        for one in classes
    )
    return "<h2>Labels</h2>" + _table(["label", "clips", "held out", "precision", "recall", ""], rows)


def _confusion(confusion: Mapping[str, Any] | None) -> str:
    if not confusion:
        return ""
    labels = [escape(str(label)) for label in confusion["labels"]]
    rows = []
    for index, counts in enumerate(confusion["counts"]):
        total = max(1, sum(counts))
        cells = "".join(
            f'<td style="background:rgba(var(--heat),{count / total:.2f})"'
            f' title="{labels[index]} predicted as {labels[other]}">{count or ""}</td>'
            for other, count in enumerate(counts)
        )
        rows.append(f'<tr><th class="side">{labels[index]} <span class="soft">{index + 1}</span></th>{cells}</tr>')
    head = ["", *(str(index + 1) for index in range(len(labels)))]
    return "<h2>Confusion</h2><p class='soft'>Rows: true label; columns: predicted label.</p>" + _table(
        head, rows, kind="confusion"
    )


def _reliability(calibration: Mapping[str, Any]) -> str:
    curve = calibration.get("curve")
    if not curve:
        return ""
    limits = (
        f"Known from a probability of {_percent(calibration.get('threshold'))} on"
        f" (temperature {float(calibration['temperature']):.3g})."
    )
    shares = [
        ("refused_though_right", "of the correct predictions are refused"),
        ("refused_and_wrong", "of the wrong predictions are refused"),
        ("background_recognised", "of the background is taken for a label"),
    ]
    facts = "".join(f"<p>{_percent(calibration[key])} {text}.</p>" for key, text in shares if key in calibration)
    return f"<h2>Can the probabilities be trusted?</h2>{_curve(curve)}<p>{limits}</p>{facts}"


def _curve(curve: Sequence[Mapping[str, Any]]) -> str:
    """Reliability diagram: accuracy over confidence; the diagonal is perfect calibration."""
    size, edge = 220, 30
    total = max(1, sum(int(point["clips"]) for point in curve))
    places = [(edge + size * float(one["confidence"]), 10 + size * (1 - float(one["accuracy"]))) for one in curve]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 9 * (int(one["clips"]) / total) ** 0.5:.1f}" fill="var(--bar)"'
        f' opacity=".75"><title>{int(one["clips"])} clips</title></circle>'
        for one, (x, y) in zip(curve, places, strict=True)
    )
    words = 'text-anchor="middle" fill="var(--soft)" font-size="12"'
    return (
        f'<svg width="{size + 2 * edge}" height="{size + 50}" role="img" aria-label="reliability curve">'
        f'<rect x="{edge}" y="10" width="{size}" height="{size}" fill="none" stroke="var(--line)"/>'
        f'<line x1="{edge}" y1="{10 + size}" x2="{edge + size}" y2="10" stroke="var(--soft)" stroke-dasharray="4 4"/>'
        f'<polyline points="{line}" fill="none" stroke="var(--bar)" stroke-width="2"/>{dots}'
        f'<text x="{edge + size / 2}" y="{size + 32}" {words}>confidence</text>'
        f'<text x="14" y="{10 + size / 2}" {words} transform="rotate(-90 14 {10 + size / 2})">accuracy</text></svg>'
    )


def _suspects(suspects: Sequence[Mapping[str, Any]]) -> str:
    if not suspects:
        return ""
    rows = (
        _row(
            [
                escape(str(one["clip"])),
                escape(str(one["label"])),
                escape(str(one["looks_like"])),
                _percent(one["probability"]),
            ]
        )
        for one in suspects
    )
    return "<h2>Perhaps mislabelled</h2>" + _table(
        ["clip", "labelled", "looks like", "probability"], rows, kind="words"
    )


def _needs_more(needs: Sequence[Mapping[str, Any]]) -> str:
    if not needs:
        return ""
    rows = (_row([escape(str(one["label"])), str(one["clips"]), escape(str(one["why"]))]) for one in needs)
    return "<h2>More clips would help</h2>" + _table(["label", "clips", "why"], rows, kind="words")


def _skipped(skipped: Sequence[Mapping[str, Any]]) -> str:
    if not skipped:
        return ""
    rows = (_row([escape(str(one["clip"])), escape(str(one["reason"]))]) for one in skipped)
    return "<h2>Left out</h2>" + _table(["clip", "why"], rows, kind="words")


def _seconds(seconds: Mapping[str, float]) -> str:
    if not seconds:
        return ""
    text = ", ".join(f"{escape(str(name))} {float(value):.1f} s" for name, value in seconds.items())
    return f'<h2>Time taken</h2><p class="soft">{text}</p>'
