import pytest

from docendo.errors import ScenarioError, UnknownNameError, UsageError
from docendo.registry import Family, NumberedRegistry
from docendo.runtime.measures import MEASURES, measure_family
from docendo.runtime.study import known_names
from docendo.scenarios.loader import load_scenario


@pytest.fixture
def words() -> NumberedRegistry[str]:
    registry: NumberedRegistry[str] = NumberedRegistry("word")
    registry.add("echo", "echo")
    registry.add_family("echo", Family("n", lambda n: "echo " * n))
    return registry


def test_members_of_a_family_are_found_by_their_number(words: NumberedRegistry[str]) -> None:
    assert words.get("echo") == "echo"
    assert words.get("echo@2") == "echo echo "
    assert "echo@2" in words
    assert list(words) == words.names() == ["echo"]
    assert len(words) == 1


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("eco@2", "Did you mean `echo@2`?"),
        ("eco@", "Did you mean `echo@n`?"),
        ("eco", "Did you mean `echo` or `echo@n`?"),
        ("echo@0", "Write a whole number from 1 on for n, such as `echo@3`."),
        ("echo@03", "Write a whole number from 1 on for n, such as `echo@3`."),
        ("echo@n", "Write a whole number from 1 on for n, such as `echo@3`."),
        ("echo@" + "9" * 5000, "Write a whole number from 1 on for n, such as `echo@3`."),
    ],
)
def test_wrong_names_and_numbers_are_refused_with_a_hint(
    words: NumberedRegistry[str], name: str, hint: str
) -> None:
    assert name not in words
    with pytest.raises(UnknownNameError) as caught:
        words.get(name)
    assert caught.value.suggestion == hint


def test_a_family_is_registered_once(words: NumberedRegistry[str]) -> None:
    with pytest.raises(UsageError, match="twice"):
        words.add_family("echo", Family("n", str))


def test_a_member_is_a_measure_with_its_own_name() -> None:
    three = MEASURES.get("success@3")
    assert (three.name, three.scale, three.better, three.binary) == ("success@3", "probability", "high", True)
    with pytest.raises(UsageError, match="twice"):
        measure_family("success", "k", scale="share", better="high", description="another")(
            lambda trace, k: ()
        )


def problems_of(*measures: str) -> list[tuple[str, str]]:
    try:
        load_scenario("when-to-step-in", overrides=[f"measures=[{', '.join(measures)}]"], known=known_names())
    except ScenarioError as error:
        return [(problem.message, problem.suggestion) for problem in error.problems]
    return []


def test_validation_accepts_members_and_suggests_the_nearest() -> None:
    assert problems_of("accuracy", "success@3") == []
    assert problems_of("succes@3", "success@0", "success", "calibratoin") == [
        ("unknown measure `succes@3`", "Did you mean `success@3`?"),
        ("unknown measure `success@0`", "Write a whole number from 1 on for k, such as `success@3`."),
        ("unknown measure `success`", "Did you mean `success@k`?"),
        ("unknown measure `calibratoin`", "Did you mean `calibration`?"),
    ]
