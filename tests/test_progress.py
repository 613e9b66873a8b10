import io

from facesec_bench import progress


def test_every_item_passes_and_a_log_gets_a_line_only_when_work_is_slow(monkeypatch, capsys):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    assert list(progress.track([1, 2, 3, 4], "attacking")) == [1, 2, 3, 4]
    said = progress.sys.stderr.getvalue().splitlines()
    assert said == ["attacking: 2 of 4, 40 s, about 40 s left"]


def test_nothing_is_said_of_the_time_left_where_items_differ(monkeypatch):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    assert list(progress.track([1, 2, 3, 4], "teaching", alike=False)) == [1, 2, 3, 4]
    assert progress.sys.stderr.getvalue().splitlines() == ["teaching: 2 of 4, 40 s"]


def test_quick_work_says_nothing(capsys):
    assert list(progress.track(range(5), "embedding")) == list(range(5))
    assert capsys.readouterr().err == ""
