"""The linter of the pages' words finds what it should, in prose alone."""

import yaml

from scripts.prose import ROOT, faults, pages

STYLE = yaml.safe_load((ROOT / "scripts" / "prose.yaml").read_text(encoding="utf-8"))


def test_a_word_is_found_with_its_line_and_what_to_write():
    assert faults("Good.\n\nIn order to see.\n", STYLE) == [(3, "'In order to': to")]


def test_a_long_sentence_is_found():
    long = " ".join(["word"] * 41)
    assert faults(f"Short.\n\n{long}.\n", STYLE) == [(3, "41 words in a sentence, at most 40")]


def test_code_tables_and_addresses_are_not_prose():
    assert faults("```\nin order to\n```\n`in order to`\n| in order to |\n[a](in-order-to!)\n", STYLE) == []


def test_the_pages_pass():
    wrong = [(path.name, *fault) for path in pages(STYLE) for fault in faults(path.read_text(encoding="utf-8"), STYLE)]
    assert wrong == []
