import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from conftest import made_up_faces
from facesec_bench.data import Dataset
from facesec_bench.errors import CalibrationError
from facesec_bench.interfaces import Faces
from facesec_bench.protocols.calibration import CalibrationStore, calibrate, far_name
from facesec_bench.targets.toy import ToyTarget

TOY = ToyTarget()


def data(n_identities=10, photos=4, digest="d", pairs=()):
    return Dataset("made up", made_up_faces(n_identities, photos, size=48), (), digest, "none", {}, pairs)


def embeddings(n, seed=0):
    x = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return x / x.norm(dim=1, keepdim=True)


def test_the_threshold_lets_exactly_the_stated_share_of_impostors_pass():
    dataset, x = data(), embeddings(40)
    found = calibrate(TOY, dataset, x, [0.1, 0.05])
    who = dataset.faces.identities.numpy()
    cosines = (x @ x.T).numpy()[np.triu_indices(40, 1)]
    impostor = cosines[(who[:, None] != who[None])[np.triu_indices(40, 1)]]
    for far in (0.1, 0.05):
        assert (impostor >= found.threshold(far)).mean() == pytest.approx(far, abs=1 / len(impostor))


def test_a_refused_rate_names_what_was_needed_and_cannot_be_used():
    found = calibrate(TOY, data(), embeddings(40), [0.1, 0.001])
    assert [p["status"] for p in found.points] == ["calibrated", "refused"]
    with pytest.raises(CalibrationError, match="found 720 impostor pairs, needed 10000"):
        found.threshold(0.001)
    assert not any("1e-3" in measure for measure in found.measures())


def test_a_rate_that_was_not_asked_for_is_refused():
    with pytest.raises(CalibrationError, match="not calibrated"):
        calibrate(TOY, data(), embeddings(40), [0.1]).threshold(0.2)


def test_pairs_given_with_the_data_are_the_ones_used():
    keys = data().faces.keys
    pairs = tuple((keys[4 * i], keys[4 * i + 1], True) for i in range(5)) + tuple(
        (keys[i], keys[(i + 4) % 40], False) for i in range(30)
    )
    found = calibrate(TOY, data(pairs=pairs), embeddings(40), [0.5])
    assert (found.n_genuine, found.n_impostor) == (5, 30)


def test_one_photo_a_person_gives_no_genuine_pair_and_says_so():
    faces = Faces(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), ("a", "b"), ("a", "b"))
    with pytest.raises(CalibrationError, match="found 0 genuine and 1 impostor"):
        calibrate(TOY, Dataset("d", faces, (), "d", "none", {}), embeddings(2), [0.1])


def test_a_calibration_is_stored_and_found_only_for_the_same_data_weights_and_rates(tmp_path):
    shelf, dataset = CalibrationStore(tmp_path / "new"), data()
    found = calibrate(TOY, dataset, embeddings(40), [0.1])
    shelf.save(found, TOY, dataset, [0.1])
    assert shelf.load(TOY, dataset, [0.1]) == found
    assert shelf.load(TOY, data(digest="other"), [0.1]) is None
    assert shelf.load(ToyTarget(seed=5), dataset, [0.1]) is None
    assert shelf.load(TOY, dataset, [0.2]) is None


def test_a_calibration_made_by_other_code_is_not_found(tmp_path):
    dataset = data()
    found = calibrate(TOY, dataset, embeddings(40), [0.1])
    CalibrationStore(tmp_path, code="one").save(found, TOY, dataset, [0.1])
    assert CalibrationStore(tmp_path, code="one").load(TOY, dataset, [0.1]) == found
    assert CalibrationStore(tmp_path, code="two").load(TOY, dataset, [0.1]) is None
    assert CalibrationStore(tmp_path).load(TOY, dataset, [0.1]) is None


def test_two_runs_that_store_at_once_leave_one_whole_file(tmp_path):
    dataset = data()
    found, shelf = calibrate(TOY, dataset, embeddings(40), [0.1]), CalibrationStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda _: shelf.save(found, TOY, dataset, [0.1]), range(200)))
    assert list(tmp_path.iterdir()) == written[:1] and shelf.load(TOY, dataset, [0.1]) == found


def test_a_corrupt_stored_calibration_counts_as_absent(tmp_path):
    shelf, dataset = CalibrationStore(tmp_path), data()
    path = shelf.save(calibrate(TOY, dataset, embeddings(40), [0.1]), TOY, dataset, [0.1])
    path.write_text('{"target": ')
    assert shelf.load(TOY, dataset, [0.1]) is None


def test_rates_are_spelt_as_measures_are_named():
    assert [far_name(f) for f in (0.1, 0.01, 0.001, 0.05)] == ["1e-1", "1e-2", "1e-3", "5e-2"]


def test_whole_set_records_are_finite_or_absent():
    assert all(math.isfinite(r.value) for r in calibrate(TOY, data(), embeddings(40), [0.1, 0.001]).records())
