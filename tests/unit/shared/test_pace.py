from shared.pace import Pace


def test_the_pace_is_kept() -> None:
    pace = Pace(50, 0.0)
    assert pace.available(0.0) == 50
    pace.take(50)
    assert (pace.available(0.0), pace.available(0.1), pace.available(10)) == (0, 5, 50)


def test_less_than_one_a_second_is_still_served() -> None:
    pace = Pace(0.5, 0.0)
    pace.take(pace.available(0.0))
    assert (pace.available(1.9), pace.available(2.0)) == (0, 1)
    assert pace.seconds_to_next == 0
