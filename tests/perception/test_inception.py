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


def test_the_network_sees_what_the_published_model_sees_of_the_same_image(tmp_path, monkeypatch):
    from torchvision.models import Inception_V3_Weights, WeightsEnum, inception_v3

    state = inception_v3(weights=None, aux_logits=True, init_weights=False).state_dict()
    torch.save(state, tmp_path / "inception.pth")
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: state)
    weights = Inception_V3_Weights.IMAGENET1K_V1
    published, preset = inception_v3(weights=weights).eval(), weights.transforms()
    ours = Inception(str(tmp_path / "inception.pth"))
    assert ours.network.transform_input
    seen = []
    for network in (published, ours.network):
        network.Conv2d_1a_3x3.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    grey = torch.full((1, 3, 299, 299), 0.7)
    published(preset(grey))
    ours(grey)
    assert torch.allclose(seen[0], seen[1], atol=1e-5)
    # The weights were trained on (x - 0.5) / 0.5, whatever the preset says.
    assert torch.allclose(seen[1], torch.full_like(grey, 0.4), atol=1e-5)


def test_a_missing_or_foreign_file_is_refused_in_words(tmp_path):
    with pytest.raises(AssetError, match="no such file"):
        Inception(str(tmp_path / "nothing.pth"))
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(AssetError, match="not torchvision's inception_v3"):
        Inception(str(tmp_path / "other.pth"))
