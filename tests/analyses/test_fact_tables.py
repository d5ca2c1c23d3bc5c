"""Facts that users bring: every row becomes part of a fact or a complaint with its number."""

import json
from pathlib import Path

import pytest

from inspector.analyses.fact_tables import FactTable, parse_facts, read_fact_table
from inspector.analyses.facts import Fact, phrasings, read_facts
from inspector.errors import FactsError

OWN = (
    Fact(
        "capital", "France", "Paris", ("The capital of France is",), ("France has its capital in",)
    ),
    Fact("colour", "grass", "green", ("The colour of grass is", "Look, grass is")),
    Fact("colour", "snow", "white", ("The colour of snow is", "Look, snow is")),
)
HEADER = "subject,relation,object,prompt\n"


def test_csv_tsv_semicolons_and_json_lines_say_the_same(tmp_path: Path) -> None:
    rows = [
        ("Ada", "home", "Rome", "Ada lives in"),
        ("Bob", "home", "Oslo, Norway", "Bob lives in"),
    ]
    expected = (
        Fact("home", "Ada", "Rome", ("Ada lives in",)),
        Fact("home", "Bob", "Oslo, Norway", ("Bob lives in",)),
    )
    names = HEADER.strip().split(",")
    comma = HEADER + "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows)
    tab = "\t".join(names) + "\n" + "".join("\t".join(row) + "\n" for row in rows)
    semicolon = ";".join(names) + "\r\n" + "".join(";".join(row) + "\r\n" for row in rows)
    lines = "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    for text in (comma, tab, semicolon, lines, "\ufeff" + comma):
        path = tmp_path / "facts.csv"
        path.write_text(text, encoding="utf-8", newline="")
        table = read_fact_table(path)
        assert table.checked() == expected
        assert table.notes == ()
        assert list(table.to_frame()["object"]) == ["Rome", "Oslo, Norway"]


def test_pasted_rows_need_no_line_of_names() -> None:
    table = parse_facts("Ada\thome\tRome\tAda lives in\n\nBob\thome\tOslo\tBob lives in\n")
    assert [fact.subject for fact in table.checked()] == ["Ada", "Bob"]


def test_several_prompts_in_a_cell_a_list_or_several_rows() -> None:
    cell = parse_facts(
        "subject,relation,object,prompts,heldout_prompts\n"
        'Ada,home,Rome,Ada lives in | Ada is from,"[""Ada, of""]"\n'
    )
    lines = parse_facts(
        json.dumps(
            {
                "subject": "Ada",
                "relation": "home",
                "object": "Rome",
                "prompts": ["Ada lives in", "Ada is from"],
                "heldout_prompts": ["Ada, of"],
            }
        )
    )
    expected = (Fact("home", "Ada", "Rome", ("Ada lives in", "Ada is from"), ("Ada, of",)),)
    assert cell.checked() == lines.checked() == expected
    rows = parse_facts(HEADER + "Ada,home,Rome,Ada lives in\nAda,home,Rome,Ada is from\n")
    assert rows.checked()[0].prompts == ("Ada lives in", "Ada is from")
    assert rows.notes == ("1 row adds phrasings to a fact of an earlier row.",)
    both = HEADER + "".join(f"Ada,home,Rome,Ada {verb}\n" for verb in ("is of", "is in", "is from"))
    assert parse_facts(both).notes == ("2 rows add phrasings to a fact of an earlier row.",)


def test_a_row_without_a_prompt_is_asked_in_the_checkpoints_words_and_that_is_said() -> None:
    text = "subject,relation,object\nFrance,capital,Paris\nthe sea,colour,blue\n"
    table = parse_facts(text, OWN)
    known, new = table.checked()
    assert known == OWN[0]
    assert new.prompts == ("The colour of the sea is", "Look, the sea is")
    words = "no prompt: the colour is asked in the checkpoint's own words."
    assert table.notes[1] == f"1 row has {words}"
    twice = parse_facts(f"{text}the sky,colour,grey\n", OWN)
    assert twice.notes[1] == f"2 rows have {words}"


def test_our_relations_keep_their_article() -> None:
    table = parse_facts("subject,relation,object\nBahamas,capital,Nassau\n", OWN)
    assert table.checked()[0].prompts == phrasings("capital", "Bahamas")
    assert "The capital of the Bahamas is" in table.checked()[0].prompts


BAD = (
    HEADER
    + "Ada,home,Rome,Ada lives in\n"  # 2
    + ",home,Rome,x lives in\n"  # 3
    + "Bob,home,Oslo\n"  # 4: no prompt
    + "Cy,home,Lima,Cy lives in,more\n"  # 5
    + "Ada,home,Oslo,Ada lives in\n"  # 6
    + "Dan,home,Rome,Dan lives in\n"  # 7
)


def test_bad_rows_are_all_reported_and_good_ones_kept_only_on_request() -> None:
    table = parse_facts(BAD, OWN, name="mine.csv")
    assert [bad.row for bad in table.bad] == [3, 4, 5, 6]
    problems = [bad.problem for bad in table.bad]
    assert "found subject = ''" in problems[0]
    assert "'home' is no relation that the checkpoint has words for" in problems[1]
    assert problems[2] == "has 5 cells for 4 columns"
    assert problems[3] == "says 'Oslo', but row 2 says 'Rome' for the home of 'Ada'"
    with pytest.raises(
        FactsError, match=r"mine.csv: 4 of its rows .*; 2 facts can. row 3"
    ) as caught:
        table.checked()
    assert caught.value.row == 3
    assert [fact.subject for fact in table.facts] == ["Ada", "Dan"]


def test_of_very_many_bad_rows_ten_are_named_and_the_others_counted() -> None:
    table = parse_facts(HEADER + ",home,Rome,x\n" * 25)
    with pytest.raises(FactsError, match=r"25 of its rows.*row 11: .*; and 15 more\."):
        table.checked()


def test_lines_of_json_are_checked_one_by_one() -> None:
    good = json.dumps({"subject": "A", "relation": "r", "object": "o", "prompt": "A is"})
    table = parse_facts("\n".join([good, "{", "[1]", good.replace('"A is"', "3")]))
    assert [bad.row for bad in table.bad] == [2, 3, 4]
    assert "no JSON" in table.bad[0].problem
    assert table.bad[1].problem == "expected a JSON object in each line"
    assert "expected a text or a list of texts" in table.bad[2].problem


def test_columns_that_are_not_used_are_named() -> None:
    table = parse_facts("subject,relation,object,prompt,source\nA,r,o,A is,here\n")
    assert table.notes == ("A column that is not used: source.",)
    table = parse_facts("subject,relation,object,prompt,source,by\nA,r,o,A is,here,me\n")
    assert table.notes == ("Columns that are not used: by, source.",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("subject,answer\nA,o\n", "has no column relation and no column object"),
        ("", "holds no facts"),
        (HEADER, "holds no facts"),
    ],
)
def test_a_table_without_facts_says_what_it_should_hold(text: str, complaint: str) -> None:
    with pytest.raises(FactsError, match=complaint):
        parse_facts(text).checked()


def test_a_file_that_is_not_utf8_is_told_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_bytes(HEADER.encode() + b"A,r,\xff,A is\n")
    with pytest.raises(FactsError, match="row 2: found bytes that are not UTF-8"):
        read_fact_table(path)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(FactsError, match="cannot be read: No such file"):
        read_fact_table(tmp_path / "none.csv")


def test_a_broken_quote_is_a_bad_row() -> None:
    table = parse_facts(HEADER + 'A,r,o,"A" is\nB,r,o,B is\n')
    assert isinstance(table, FactTable)
    assert table.bad[0].row == 2
    assert "is no CSV" in table.bad[0].problem
    assert [fact.subject for fact in table.facts] == ["B"]


@pytest.mark.parametrize(
    "line",
    [
        '{"subject":' + "[" * 100_000,
        '{"subject":' + "1" * 5_000 + "}",
        '{"subject":"\\ud800","relation":"r","object":"o","prompt":"p"}',
        '{"subject":"s","relation":"r","object":"o","prompts":"' + "[" * 100_000 + '"}',
        '{"subject":"s","relation":"r","object":"o","prompts":["\\ud800"]}',
    ],
    ids=["deep", "long number", "half a character", "deep prompts", "half a character in a prompt"],
)
def test_hostile_rows_are_bad_rows(line: str, tmp_path: Path) -> None:
    good = '{"subject":"Peru","relation":"r","object":"Lima","prompt":"p"}'
    found = parse_facts(f"{line}\n{good}")
    assert [bad.row for bad in found.bad] == [1]
    assert len(found.bad[0].problem) < 400
    assert [fact.subject for fact in found.facts] == ["Peru"]
    (tmp_path / "facts.jsonl").write_text(line)
    with pytest.raises(FactsError, match="line 1"):
        read_facts(tmp_path / "facts.jsonl")


def test_a_column_named_twice_is_refused_and_none_of_it_lost() -> None:
    with pytest.raises(FactsError, match="'prompt' more than once"):
        parse_facts("subject,relation,object,prompt,prompt\nA,r,B,first,second")
