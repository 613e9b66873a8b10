import pytest
import torch

from facesec_bench.errors import AssetError
from facesec_bench.perception.inception import Inception


def test_features_come_from_the_named_file_and_have_2048_numbers(tmp_path):
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, aux_logits=True, init_weights=False)
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    inception = Inception(str(tmp_path / "inception.pth"))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = inception(images)
    assert features.shape == (2, 2048) and torch.isfinite(features).all()
    assert torch.equal(inception(images), features)


def test_a_missing_or_foreign_file_is_refused_in_words(tmp_path):
    with pytest.raises(AssetError, match="no such file"):
        Inception(str(tmp_path / "nothing.pth"))
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(AssetError, match="not torchvision's inception_v3"):
        Inception(str(tmp_path / "other.pth"))
