"""What goes in comes out, whatever the form of the file; and the drill would notice if it did not."""

from benchmarks import round_trips
from benchmarks.round_trips import TRIPS, round_trip_drill


def test_there_are_more_forms_than_the_figure_asks_for():
    assert len(TRIPS) >= 12


def test_judgments_come_back_whole(monkeypatch):
    some = ("votes, CSV", "ranking", "Label Studio Ranker", "HelpSteer3")
    monkeypatch.setattr(round_trips, "TRIPS", {name: TRIPS[name] for name in some})
    found = round_trip_drill(8, seed=5)
    assert found.lossy == [] and tuple(found.lossless) == some
    assert found.nul_taken == 0
    assert found.planted == ["trims its texts", "forgets ties"], "what is planted must be found"
