from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from docendo.errors import UnknownNameError, UsageError
from docendo.scenarios.arithmetic import (
    BASE_SLOTS,
    BUGS,
    CORRECT,
    SLOTS,
    Operation,
    Problem,
    exercised,
    parse_problem,
    rules_with,
    solve,
)
from docendo.scenarios.worked_steps import ReadStep, read_steps, render_steps

digit_heavy_on_zero = st.sampled_from("0001234567899")
numbers = st.text(digit_heavy_on_zero, min_size=1, max_size=5).map(int)


@st.composite
def problems(draw: st.DrawFn, operation: Operation | None = None) -> Problem:
    sign: Operation = operation or draw(st.sampled_from(["+", "-"]))
    top, bottom = draw(numbers), draw(numbers)
    return Problem(sign, max(top, bottom), min(top, bottom)) if sign == "-" else Problem(sign, top, bottom)


@st.composite
def rule_sets(draw: st.DrawFn) -> dict[str, str]:
    by_slot = {slot: [n for n, bug in BUGS.items() if bug.slot == slot] for slot in SLOTS}
    return {slot: draw(st.sampled_from([CORRECT, CORRECT, *bugs])) for slot, bugs in by_slot.items()}


def answer(question: str, *bugs: str) -> int:
    problem = parse_problem(question)
    assert problem is not None
    return solve(problem, rules_with(bugs)).answer


@given(problems())
def test_correct_rules_give_the_right_answer(problem: Problem) -> None:
    assert solve(problem, {}).answer == problem.answer


@settings(max_examples=300)
@given(problems(), st.sampled_from(sorted(BUGS)))
def test_a_bug_is_right_where_its_slot_is_not_exercised(problem: Problem, bug: str) -> None:
    assume(BUGS[bug].slot not in exercised(problem))
    assert solve(problem, rules_with([bug])).answer == problem.answer


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_every_bug_spoils_some_three_digit_problem(bug: str) -> None:
    operation = BUGS[bug].operation
    wrong = [
        (top, bottom)
        for top in range(100, 1000, 7)
        for bottom in range(3, top, 41)
        if solve(Problem(operation, top, bottom), rules_with([bug])).answer
        != Problem(operation, top, bottom).answer
    ]
    assert len(wrong) > 50
    assert all(BUGS[bug].slot in exercised(Problem(operation, *pair)) for pair in wrong)


@pytest.mark.parametrize(
    ("question", "bug", "expected"),
    [
        ("702 - 348", "smaller_from_larger", 446),
        ("53 - 28", "borrow_no_decrement", 35),
        ("53 - 28", "zero_instead_of_borrow", 30),
        ("733 - 216", "always_borrow_left", 427),
        ("702 - 348", "stops_borrow_at_zero", 364),
        ("702 - 348", "borrow_across_zero", 264),
        ("702 - 348", "zero_to_nine_only", 454),
        ("709 - 352", "zero_minus_n_is_n", 457),
        ("709 - 352", "zero_minus_n_is_zero", 407),
        ("907 - 302", "n_minus_zero_is_zero", 605),
        ("178 - 59", "quit_when_bottom_blank", 19),
        ("27 + 35", "carry_dropped", 52),
        ("27 + 35", "writes_whole_sum", 512),
        ("27 + 35", "carries_wrong_digit", 71),
        ("730 + 25", "n_plus_zero_is_zero", 750),
        # Brown & Burton 1978, the worked example of an addition bug
        ("41 + 9", "carry_not_reset", 50),
        ("328 + 917", "carry_not_reset", 1345),
        ("989 + 52", "carry_not_reset", 1141),
        ("66 + 887", "carry_not_reset", 1053),
        ("216 + 13", "carry_not_reset", 229),
    ],
)
def test_known_answers_of_bugs(question: str, bug: str, expected: int) -> None:
    assert answer(question, bug) == expected


@settings(max_examples=400)
@given(problems(), rule_sets())
def test_reading_rendered_steps_names_what_was_exercised(problem: Problem, rules: dict[str, str]) -> None:
    solution = solve(problem, rules)
    read = read_steps(render_steps(solution), problem)
    unread = set(solution.used) - {(step.slot, step.variant) for step in read}
    extra = {(step.slot, step.variant) for step in read} - set(solution.used)
    # a sum of 11 looks alike whichever digit is carried
    assert unread <= {("carry", "carries_wrong_digit")}
    assert extra <= {("carry", CORRECT)}
    for step in read:
        if (step.slot, step.variant) in extra:
            assert not step.contradicts("carries_wrong_digit")


@given(problems(), rule_sets())
def test_what_a_learner_says_never_contradicts_its_own_rules(problem: Problem, rules: dict[str, str]) -> None:
    for step in read_steps(render_steps(solve(problem, rules)), problem):
        assert not step.contradicts(rules[step.slot])


@given(problems(), rule_sets())
def test_solving_is_a_pure_function_of_problem_and_rules(problem: Problem, rules: dict[str, str]) -> None:
    assert solve(problem, rules) == solve(problem, dict(reversed(rules.items())))


def pairs(text: str, problem: str | None = None) -> list[tuple[str, str]]:
    read = read_steps(text, parse_problem(problem) if problem else None)
    return [(step.slot, step.variant) for step in read]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Since 3 < 8, we borrow 1 from the tens place: the 5 becomes 4, 3 becomes 13. Now 13 - 8 = 5.",
            [("borrow", CORRECT)],
        ),
        ("13 \N{MINUS SIGN} 8 equals 5", [("borrow", CORRECT)]),
        (
            "The tens digit is 0, so reduce 7 to 6, the 0 becomes 10 and then 9. 12 - 8 = 4.",
            [("borrow_from_zero", CORRECT), ("borrow", CORRECT)],
        ),
        ("I just did 3 - 8 = 5", [("borrow", "smaller_from_larger")]),
        ("0 - 7 = 7", [("zero_minus", "zero_minus_n_is_n")]),
        ("10 - 7 = 3", [("zero_minus", CORRECT), ("borrow", CORRECT)]),
        ("8 + 7 = 15. Write down 5 and carry over the 1.", [("carry", CORRECT)]),
        ("8+7=15, write 5, carry 1; then 2+3+1=6", [("carry", CORRECT)]),
        ("8 + 7 = 15, write 5 and drop the 1.", [("carry", "carry_dropped")]),
        ("The total is 354 and there are 12 eggs in 1990 - 2.", []),
        ("", []),
    ],
)
def test_reads_words_of_others(text: str, expected: list[tuple[str, str]]) -> None:
    assert pairs(text) == expected


def test_a_denied_mistake_is_not_read() -> None:
    text = "Do not take the smaller digit from the larger. Instead borrow: make the 5 a 4. 13 - 8 = 5."
    assert pairs(text) == [("borrow", CORRECT)]


def test_a_bare_fact_leaves_open_whether_the_lender_was_changed() -> None:
    (bare,) = read_steps("13 - 8 = 5")
    assert bare.contradicts("smaller_from_larger")
    assert not bare.contradicts("borrow_no_decrement")
    (shown,) = read_steps("borrow: make the 5 a 4. 13 - 8 = 5")
    assert shown == ReadStep("borrow", CORRECT)
    assert shown.contradicts("borrow_no_decrement")


def test_the_problem_helps_to_read_a_swapped_column() -> None:
    assert pairs("8 - 2 = 6") == []
    assert pairs("8 - 2 = 6", "702 - 348") == [("borrow", "smaller_from_larger")]


def test_the_whole_problem_is_not_a_column() -> None:
    assert pairs("15 - 7 = 8", "15 - 7") == []
    assert pairs("15 - 7 = 8", "45 - 17") == [("borrow", CORRECT)]
    assert pairs("Borrow: the 5 becomes 15. 15 - 7 = 8", "15 - 7") == [("borrow", CORRECT)]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is 702 - 348?", Problem("-", 702, 348)),
        ("1,204 \N{MINUS SIGN} 348 = ?", Problem("-", 1204, 348)),
        ("Work out 12 plus 30.", Problem("+", 12, 30)),
        ("12 + 30.", Problem("+", 12, 30)),
        ("3 - 5", None),
        ("10 - 3 - 2", None),
        ("1.5 + 2", None),
        ("1/2 + 3/4", None),
        ("on 2020-10-05", None),
        ("no numbers", None),
    ],
)
def test_parse_problem(question: str, expected: Problem | None) -> None:
    assert parse_problem(question) == expected


@given(problems())
def test_a_printed_problem_parses_back(problem: Problem) -> None:
    assert parse_problem(f"What is {problem}?") == problem


@given(problems())
def test_exercised_is_never_empty_and_of_the_operation(problem: Problem) -> None:
    slots = exercised(problem)
    assert slots
    assert all(SLOTS[slot] == problem.operation for slot in slots)
    assert not BASE_SLOTS.intersection(slots) or len(slots) == 1


def test_unknown_and_clashing_bugs_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="smaler") as caught:
        rules_with(["smaler_from_larger"])
    assert "smaller_from_larger" in caught.value.suggestion
    with pytest.raises(UsageError, match="both replace the rule `borrow`"):
        rules_with(["smaller_from_larger", "borrow_no_decrement"])
    with pytest.raises(UsageError, match="no rule `carry: smaller_from_larger`"):
        solve(Problem("-", 5, 3), {"carry": "smaller_from_larger"})
    with pytest.raises(UsageError, match="negative"):
        Problem("-", 3, 5)
