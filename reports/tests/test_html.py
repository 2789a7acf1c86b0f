"""The HTML report: self-contained, and safe whatever modules and engines say."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from wasmlab.model import Campaign, Divergence, EngineRecord, Run, Sample
from wasmlab.signature import size
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read
from wasmlab_ref.encode import encode
from wasmlab_ref.text import parse_module
from wasmlab_reports.html import render
from wasmlab_reports.meaning import meaning

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=y>{{ 7*7 }}\x1b[31m\u202e\ud800"


def module(name: str = "f") -> bytes:
    text = "".join(f"\\{byte:02x}" for byte in name.encode(errors="replace"))
    return encode(parse_module(f'(module (func (export "{text}") (param i32) (result i32) (i32.clz (local.get 0))))'))


def run(evil: str = "f", known: str = "") -> Run:
    case = Case(
        (module(evil), b"\0asm no module"),
        (Instantiate(evil, 0), Invoke(evil, evil, ("i32:1",)), Read(evil, evil)),
        evil,
    )
    answers = {
        f"ref{evil}": ((Outcome("returned"), Outcome("returned", ("i32:1f",)), Outcome("returned")), (evil,)),
        "x": ((Outcome("returned"), Outcome("trapped", (), evil), Outcome("crashed", (evil,), evil)), ()),
    }
    found = Divergence(
        "0123456789ab", f"signature {evil}", ((f"ref{evil}",), ("x",)), "invoke", f"sentence {evil}", 3, case, case, 1,
        answers, size(case), 0.1, known, 12,
    )  # fmt: skip
    engines = (
        EngineRecord(f"ref{evil}", evil, evil, ("mvp",)),
        EngineRecord("x", "x@1", "1", ("mvp",)),
    )
    return Run(
        folder=f"/tmp/{evil}", campaign=Campaign(engines, ("mvp",), 7, "digest"), started=0.0, seconds=2.0,
        counters=Counter({"cases": 100, "calls": 50, "complete calls": 49, f"ref{evil}: {evil}": 3,
                          f"explained: {evil}": 9}),
        inconclusive=Counter({evil: 2}), rules=Counter({"Step_pure/unop-val": 2, evil: 1}),
        instructions=Counter({"i32.clz": 3, evil: 1}), divergences=[found], samples=[Sample(evil, 1, case, answers)],
        choices={"x": {"nan": "x86", "f32x4.relaxed_madd": "1", "f32x4.relaxed_nmadd": evil}},
    )  # fmt: skip


class Page(HTMLParser):
    """The tags and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_hostile_texts_stay_texts() -> None:
    text = render([run(EVIL)])
    page = Page(text)
    assert page.tags == Page(render([run()])).tags
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "49" not in re.sub(r"\d{4,}|ab", "", "".join(t for t in page.texts if "7*7" in t))
    assert "\x1b" not in text
    assert "\u202e" not in text
    text.encode("utf-8")


def test_links_go_to_the_standard_or_stay_on_the_page() -> None:
    for name, value in Page(render([run(EVIL)])).attributes:
        if name in ("href", "src"):
            assert value is not None
            assert value.startswith(("#d-", "https://webassembly.github.io/spec/core/"))


def test_nothing_is_loaded() -> None:
    text = render([run()])
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "@import" not in text


def test_a_divergence_is_all_there() -> None:
    text = render([run()])
    assert "1 divergence" in text
    assert "    <mark>i32.clz</mark>" in text
    assert "exec/instructions.html#exec-unop" in text
    assert "wasmlab diff /tmp/f/findings/0123456789ab/reduced.json --engines reff,x" in text
    assert "wasmlab fuzz --engines reff,x --seed 7 --features mvp" in text
    assert "(assert_return (invoke $f &#34;f&#34; (i32.const 0x1)) (i32.const 0x1f))" in text
    assert "98.0 %" in text


def test_runs_merge_by_signature() -> None:
    one, two = run(), run()
    text = render([one, two])
    assert "1 divergence" in text
    assert '<td class="n">24</td>' in text
    assert text.count("<h2>Campaign") == 2


def test_a_known_divergence_is_no_new_one() -> None:
    text = render([run(known="as written up https://example.org/1")])
    assert "No divergence" in text
    assert "Known: as written up" in text


def test_an_empty_campaign() -> None:
    empty = run()
    empty.divergences.clear()
    empty.counters.clear()
    empty.inconclusive.clear()
    text = render([empty])
    assert "No divergence" in text
    assert "None: every case ended in a verdict." in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("i32:ffffffff", "4294967295 or -1"),
        ("i64:5", "5"),
        ("f32:80000000", "-0.0"),
        ("f32:3fc00000", "1.5 = 0x1.8p+0"),
        ("f32:7fc00000", "nan:0x400000 (canonical)"),
        ("f32:ffc00001", "-nan:0x400001"),
        ("f32:7fa00000", "nan:0x200000 (signalling)"),
        ("f64:fff0000000000000", "-inf"),
        ("v128:1", "i32 lanes 1 0 0 0"),
        ("ref.null", "a null reference"),
        ("ref.array:3", "an array of 3"),
        ("ref.extern:5", "the host's reference 5"),
        ("digest:00", ""),
        ("i32:", ""),
        ("i32:xyz", ""),
        ("<script>", ""),
    ],
)
def test_meanings(value: str, expected: str) -> None:
    assert meaning(value) == expected


def test_choices_and_what_they_explained() -> None:
    text = render([run()])
    assert "<td>R_fmadd</td>" in text
    assert "<td>NaNs</td><td></td><td>x86</td>" in text
    assert "explained by" in text


def test_a_finding_about_choices_is_shown() -> None:
    made = run()
    case = made.divergences[0].case
    answers = {"x": made.divergences[0].answers["x"]}
    changed = Divergence(
        "0123456789ac",
        "x changes nan",
        (("x",),),
        "probe",
        "x changes its choices",
        0,
        case,
        case,
        None,
        answers,
        2,
        0.0,
    )
    made.divergences.append(changed)
    assert "x changes its choices" in render([made])
