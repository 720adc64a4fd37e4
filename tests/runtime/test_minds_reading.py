import pytest

from docendo.runtime.minds.reading import is_about, problem_of, shown_to
from docendo.scenarios.arithmetic import BUGS, CORRECT, Problem, parse_problem, solve
from docendo.scenarios.items.column_arithmetic import ADDITION, SUBTRACTION, ColumnOptions
from docendo.scenarios.worked_steps import render_steps

SETS = [(source, digits) for source in (SUBTRACTION, ADDITION) for digits in (2, 3, 4)]


def problems(source, digits) -> list[Problem]:
    items = source.load(ColumnOptions(digits=digits), base=None, size=40, seed=3)
    found = [problem_of(item.question) for item in items]
    return [p for p in found if p is not None]


def worked(problem: Problem, variant: str = CORRECT) -> str:
    rules = {} if variant == CORRECT else {BUGS[variant].slot: variant}
    return render_steps(solve(problem, rules))


@pytest.mark.parametrize(("source", "digits"), SETS)
def test_an_explanation_is_about_its_own_problem_whatever_bug_it_shows(source, digits):
    for problem in problems(source, digits):
        variants = [b.name for b in BUGS.values() if b.operation == problem.operation]
        for variant in (CORRECT, *variants):
            assert is_about(worked(problem, variant), problem), (problem, variant)


@pytest.mark.parametrize(("source", "digits"), SETS)
def test_an_explanation_of_another_problem_is_hardly_ever_taken_for_it(source, digits):
    all_ = problems(source, digits)
    texts = {p: worked(p) for p in all_}
    taken = [bool(shown_to(texts[other], p)) for p in all_ for other in all_ if other != p]
    assert sum(taken) / len(taken) < 0.05


@pytest.mark.parametrize(
    "text",
    [
        "13 - 8 = 5.",
        "For 523 - 278, the ones: borrow, 13 - 8 = 5.",
        "You need a ten: 2 - 1 = 1. Then 13 - 8 = 5. Next 5 - 1 = 4, so 11 - 7 = 4. Then 4 - 2 = 2.",
        "Take away from the right: 3 is less than 8, so borrow.",
    ],
)
def test_the_words_of_others_count_too(text):
    assert is_about(text, Problem("-", 523, 278))


@pytest.mark.parametrize("text", ["4 - 1 = 3. 9 - 2 = 7.", "10 - 5 = 5.", "11 - 7 = 4, then 13 - 8 = 5."])
def test_columns_have_an_order_and_a_borrowed_ten_stands_on_top(text):
    problem = parse_problem("504 - 83") if text.startswith("10") else Problem("-", 523, 278)
    assert problem is not None
    assert not is_about(text, problem)
