"""The HTML report: self-contained, and safe whatever modules and engines say."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

import jsonschema
import pytest

from wasmlab.model import Campaign, Divergence, EngineRecord, Progress, Run, Sample, Session
from wasmlab.signature import size
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read
from wasmlab_ref.encode import encode
from wasmlab_ref.text import parse_module
from wasmlab_reports.changes import as_json as changes_json
from wasmlab_reports.changes import as_markdown, changes
from wasmlab_reports.divergences import finding
from wasmlab_reports.formats import as_json, as_junit, as_sarif
from wasmlab_reports.html import render_page, text, write_report
from wasmlab_reports.markdown import markdown
from wasmlab_reports.meaning import meaning

STANDARD = "https://webassembly.github.io/spec/core/"
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
        answers, size(case), 0.1, known, 12, None, (2, 3), (("module 0 function 0 +1", evil, evil, "i32:5"),),
    )  # fmt: skip
    engines = (
        EngineRecord(f"ref{evil}", evil, evil, ("mvp",)),
        EngineRecord("x", "x@1", "1", ("mvp",), "run --x"),
    )
    return Run(
        folder=f"/tmp/{evil}", campaign=Campaign(engines, ("mvp",), 7, "digest"), started=0.0, seconds=2.0,
        counters=Counter({"cases": 100, "calls": 50, "complete calls": 49, f"ref{evil}: {evil}": 3,
                          f"explained: {evil}": 9}),
        inconclusive=Counter({evil: 2}), rules=Counter({"Step_pure/unop-val": 2, evil: 1}),
        instructions=Counter({"i32.clz": 3, evil: 1}), divergences=[found], samples=[Sample(evil, 1, case, answers)],
        progress=Progress(5), sessions=[Session(0.0, 2.0, {"processor": "Commodore 64", evil: evil})],
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


def render(runs: list[Run]) -> str:
    """The overview."""
    return pages(runs)["report.html"]


def pages(runs: list[Run]) -> dict[str, str]:
    """All pages by their names."""
    with TemporaryDirectory() as folder:
        write_report(runs, Path(folder) / "report.html")
        return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in Path(folder).rglob("*.html")}


PAGE = "report/0123456789ab.html"


@pytest.mark.parametrize("name", ["report.html", PAGE])
def test_hostile_texts_stay_texts(name: str) -> None:
    shown = pages([run(EVIL)])[name]
    page, tame = Page(shown), Page(pages([run()])[name])
    assert page.tags == tame.tags
    assert not {"img", "iframe", "object"} & set(page.tags)
    assert page.tags["script"] == (name == PAGE)
    assert not [attribute for attribute, _ in page.attributes if attribute.startswith("on")]
    assert "49" not in re.sub(r"\d{4,}|ab", "", "".join(t for t in page.texts if "7*7" in t))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    shown.encode("utf-8")


def test_the_only_script_is_ours() -> None:
    shown = pages([run(EVIL)])[PAGE]
    script = shown.partition("<script>")[2].partition("</script>")[0]
    assert script == text("copy.js")
    assert "fetch" not in script
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in shown


def test_links_go_to_the_standard_to_pages_or_hold_what_they_download() -> None:
    made = pages([run(EVIL)])
    for name, shown in made.items():
        links = [value or "" for attribute, value in Page(shown).attributes if attribute in ("href", "src")]
        assert links
        for link in links:
            if link.startswith(("https:", "data:")):
                assert link.startswith((STANDARD, "data:application/octet-stream;base64,"))
            else:
                assert os.path.normpath(os.path.join(os.path.dirname(name), link)) in made


def test_downloads_are_the_modules_and_the_script() -> None:
    page = Page(pages([run()])[PAGE])
    found = [value for attribute, value in page.attributes if attribute == "href" and value]
    links = [base64.b64decode(link.partition(",")[2]) for link in found if link.startswith("data:")]
    names = [value for attribute, value in page.attributes if attribute == "download"]
    assert names == [f"0123456789ab{end}" for end in ("-0.wasm", "-1.wasm", ".wast", "-whole.json")]
    assert links[0] == module()
    assert b"(assert_return (invoke" in links[2]
    assert Case.from_json(json.loads(links[3])) == run().divergences[0].case


def test_nothing_is_loaded() -> None:
    for shown in pages([run()]).values():
        assert "default-src 'none'" in shown
        assert "url(" not in shown
        assert "@import" not in shown


def test_a_divergence_is_all_there() -> None:
    made = pages([run()])
    assert "1 divergence" in made["report.html"]
    assert f'href="{PAGE}"' in made["report.html"]
    assert "wasmlab fuzz --engines reff,x --seed 7 --features mvp" in made["report.html"]
    assert "98.0 %" in made["report.html"]
    page = made[PAGE]
    assert "    <mark>i32.clz</mark>" in page
    assert "exec/instructions.html#exec-unop" in page
    assert "wasmlab diff /tmp/f/0123456789ab" in page
    assert "(assert_return (invoke $f &#34;f&#34; (i32.const 0x1)) (i32.const 0x1f))" in page
    assert "2 of 3" in page
    assert "of 2 instructions left</dt><dd>2<" in page
    assert "Commodore 64" in page
    assert "run --x" in page
    assert "31" in page


def test_pages_of_divergences_that_went_away_go(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_report([run()], out)
    (tmp_path / "report" / "notes.txt").write_text("mine")
    (tmp_path / "report" / "feedfacecafe.html").write_text("old")
    write_report([run()], out)
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["0123456789ab.html", "notes.txt"]


def test_runs_merge_by_signature() -> None:
    one, two = run(), run()
    two.campaign = replace(two.campaign, seed=8)
    shown = render([one, two])
    assert "1 divergence" in shown
    assert '<td class="n">24</td>' in shown
    assert shown.count("<h2>Campaign") == 1
    assert "in 2 parts" in shown
    two.campaign = replace(two.campaign, features=("mvp", "simd"))
    assert render([one, two]).count("<h2>Campaign") == 2


def test_the_stage_is_cited_where_no_instruction_is() -> None:
    made = run()
    case = Case((encode(parse_module("(module (memory 1) (data))")),), (Instantiate("a", 0),))
    answers = {"ref": ((Outcome("returned"),), ()), "x": ((Outcome("invalid"),), ())}
    divergence = replace(made.divergences[0], reduced=case, answers=answers, stage="instantiate", step=0)
    f = finding(made, divergence)
    assert f.title == "(datas) (memories)"
    assert [rule.link for rule in f.rules] == [STANDARD + "valid/modules.html#valid-module"]
    assert "validation of modules" in render_page(f, "report.html")


# Other formats


def test_markdown_means_nothing_that_it_was_told() -> None:
    shown = markdown([run(EVIL)])
    outside = re.sub(r"(`+)[^`].*?[^`]\1", "", shown, flags=re.S)
    assert "<script>" in shown
    assert "<script>" not in outside
    assert "\x1b" not in shown
    tame = markdown([run()])
    assert "# 1 new divergence in 100 cases" in tame
    assert "| `0123456789ab` | `i32.clz` | 12 | 2 | 2 of 3 | `sentence f` |" in tame
    assert "(assert_return (invoke" in tame
    assert "# No new divergence" in markdown([run(known="row 1")])


def test_json_has_it_all() -> None:
    data = json.loads(as_json([run(EVIL)]))
    (found,) = data["divergences"]
    assert found["id"] == "0123456789ab"
    assert found["count"] == 12
    assert found["confirmed"] == [2, 3]
    assert Case.from_json(found["case"]) == run(EVIL).divergences[0].reduced
    assert data["campaigns"][0]["done"] == [[0, 5]]
    assert data["campaigns"][0]["sessions"][0]["machine"]["processor"] == "Commodore 64"


def test_junit_fails_on_what_is_new_alone() -> None:
    root = ET.fromstring(as_junit([run(EVIL)]))
    assert (root.attrib["tests"], root.attrib["failures"], root.attrib["skipped"]) == ("2", "1", "0")
    (failure,) = root.iter("failure")
    assert "(assert_return" in (failure.text or "")
    root = ET.fromstring(as_junit([run(known="as written up")]))
    assert (root.attrib["failures"], root.attrib["skipped"]) == ("0", "1")


SCHEMA = Path(__file__).parent / "data" / "sarif-2.1.0-rtm.5.json"
"""OASIS's schema of SARIF 2.1.0, as SchemaStore gives it out under the Apache License 2.0."""


def test_sarif_is_what_its_schema_demands() -> None:
    schema = jsonschema.Draft4Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    for runs in ([], [run()], [run(EVIL)], [run(known="x"), run(EVIL)]):
        log = json.loads(as_sarif(runs))
        assert [error.message for error in schema.iter_errors(log)] == []
    assert log["runs"][0]["results"]
    del log["runs"][0]["results"][0]["message"]
    log["runs"][0]["results"][0]["level"] = "boo"
    assert len(list(schema.iter_errors(log))) == 2


def test_sarif_has_a_result_a_signature() -> None:
    log = json.loads(as_sarif([run(EVIL)]))
    assert log["version"] == "2.1.0"
    (ran,) = log["runs"]
    (result,) = ran["results"]
    assert ran["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "unop"
    assert result["level"] == "error"
    assert json.loads(as_sarif([run(known="x")]))["runs"][0]["results"][0]["suppressions"]


def test_only_changes_are_told() -> None:
    before, after = run(), run()
    same = changes([before], [after])
    assert (same.new, same.gone, same.same, same.versions) == ((), (), 1, ())
    assert as_markdown(same) == "# 0 new, 0 not seen again, 1 as before\n"
    after.divergences[0] = replace(after.divergences[0], id="fedcba987654", known="row 1")
    after.campaign = replace(after.campaign, engines=(*after.campaign.engines[:1], EngineRecord("x", "x@2", "2", ())))
    after.rules = Counter({"Step_pure/nop": 1})
    found = changes([before], [after])
    assert [change.id for change in found.new] == ["fedcba987654"]
    assert [change.id for change in found.gone] == ["0123456789ab"]
    assert found.versions == (("x@1 1", "x@2 2"),)
    shown = as_markdown(found)
    assert shown.startswith("# 1 new, 1 not seen again, 0 as before\n")
    assert "engine: `x@1 1` → `x@2 2`" in shown
    assert "rules new: 1 (`Step_pure/nop`)" in shown
    assert "Known: `row 1`" in shown
    assert json.loads(changes_json(found))["new"][0]["id"] == "fedcba987654"


def test_a_known_divergence_is_no_new_one() -> None:
    text = render([run(known="as written up https://example.org/1")])
    assert "No divergence" in text
    assert '<span class="tag">known</span> <span class="quiet">as written up https://example.org/1' in text


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
