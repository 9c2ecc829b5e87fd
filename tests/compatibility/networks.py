"""Networks with random weights, in the smallest configuration of each, and a batch of four."""

import weakref
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from compatibility.reference import Case
from torch import Tensor, nn

NETWORKS: dict[str, Callable[[], Case]] = {}
"""What makes a `Case`, by the name in the table."""


def network(name: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    def register(make: Callable[[], Case]) -> Callable[[], Case]:
        NETWORKS[name] = make
        return make

    return register


def image(channels: int = 3, size: int = 8) -> Tensor:
    return torch.randn(4, channels, size, size, dtype=torch.float64)


def sequence(length: int = 5, channels: int = 8) -> Tensor:
    return torch.randn(4, length, channels, dtype=torch.float64)


def tokens(length: int = 5) -> Tensor:
    return torch.randint(1, 20, (4, length))


# torchvision and timm


@network("torchvision ResNet")
def _() -> Case:
    from torchvision.models.resnet import BasicBlock, ResNet

    net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3)
    for module in [*net.modules()]:  # 64 to 512 channels are more than a test needs
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d):
                few = max(1, child.out_channels // 16)
                into = 3 if child.in_channels == 3 else child.in_channels // 16
                size, stride, padding = child.kernel_size, child.stride, child.padding
                setattr(module, name, nn.Conv2d(into, few, size, stride, padding, bias=False))
            elif isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.BatchNorm2d(child.num_features // 16))
    net.fc = nn.Linear(32, 3)
    return Case(net, (image(3, 32),))


@network("torchvision EfficientNet")
def _() -> Case:
    from torchvision.models.efficientnet import EfficientNet, MBConvConfig

    settings = [MBConvConfig(1, 3, 1, 8, 8, 1, 1.0, 1.0), MBConvConfig(4, 3, 2, 8, 8, 1, 1.0, 1.0)]
    return Case(EfficientNet(settings, 0.0, num_classes=3, last_channel=16), (image(3, 16),))


@network("timm ResNet")
def _() -> Case:
    import timm

    return Case(timm.create_model("test_resnet", num_classes=3), (image(3, 32),))


@network("timm ConvNeXt")
def _() -> Case:
    from timm.models.convnext import ConvNeXt

    net = ConvNeXt(num_classes=3, depths=(1, 1, 1, 1), dims=(4, 4, 8, 8))
    return Case(net, (image(3, 32),))


@network("timm VisionTransformer")
def _() -> Case:
    from timm.models.vision_transformer import VisionTransformer

    net = VisionTransformer(16, 8, embed_dim=16, depth=2, num_heads=2, num_classes=3)
    return Case(net, (image(3, 16),))


@network("timm EfficientNet")
def _() -> Case:
    import timm

    return Case(timm.create_model("test_efficientnet", num_classes=3), (image(3, 32),))


@network("timm MlpMixer")
def _() -> Case:
    from timm.models.mlp_mixer import MlpMixer

    net = MlpMixer(img_size=16, patch_size=8, num_blocks=2, embed_dim=8, num_classes=3)
    return Case(net, (image(3, 16),))


def swin(**options) -> Case:
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    net = SwinTransformerV2(
        img_size=32, patch_size=4, window_size=4, embed_dim=8, depths=(2, 2), num_heads=(2, 2),
        num_classes=3,
    )  # fmt: skip
    return Case(net, (image(3, 32),), options=options)


@network("timm SwinTransformerV2")
def _() -> Case:
    return swin()


@network('timm SwinTransformerV2, include=["*attn.qkv.weight"]')
def _() -> Case:
    return swin(include=["*attn.qkv.weight"])


# diffusers


@network("diffusers UNet2DModel")
def _() -> Case:
    from diffusers import UNet2DModel

    net = UNet2DModel(
        sample_size=8, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8,
    )  # fmt: skip
    return Case(net, (image(),), {"timestep": 0, "return_dict": False})


def stable_diffusion(**options) -> nn.Module:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=8,
        attention_head_dim=4, **options,
    )  # fmt: skip


@network("diffusers UNet2DConditionModel")
def _() -> Case:
    timesteps = torch.tensor([900, 3, 400, 3])
    return Case(stable_diffusion(), (image(4), timesteps, sequence()), tolerance=1e-4)


@network("diffusers UNet2DConditionModel, gradient checkpointing")
def _() -> Case:
    return Case(
        stable_diffusion(),
        (image(4), 7, sequence()),
        prepare=lambda net: net.enable_gradient_checkpointing(),
        training=True,
        tolerance=1e-4,
    )


@network("diffusers UNet2DConditionModel, added_cond_kwargs (SDXL)")
def _() -> Case:
    net = stable_diffusion(
        addition_embed_type="text_time", addition_time_embed_dim=4, use_linear_projection=True,
        projection_class_embeddings_input_dim=32,
    )  # fmt: skip
    text = torch.randn(4, 8, dtype=torch.float64)
    added = {"text_embeds": text, "time_ids": torch.randint(0, 64, (4, 6))}
    args = (image(4), torch.tensor(7), sequence())
    return Case(net, args, {"added_cond_kwargs": added}, tolerance=1e-4)


@network("diffusers DiTTransformer2DModel")
def _() -> Case:
    from diffusers import DiTTransformer2DModel

    net = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=4, num_layers=1, sample_size=8,
        norm_num_groups=4, num_embeds_ada_norm=10,
    )  # fmt: skip
    more = {"timestep": torch.tensor([5, 1, 2, 3]), "class_labels": torch.tensor([2, 0, 3, 1])}
    return Case(net, (image(4),), more, tolerance=1e-4)


@network("diffusers PixArtTransformer2DModel")
def _() -> Case:
    from diffusers import PixArtTransformer2DModel

    net = PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=4, num_layers=1, sample_size=8,
        cross_attention_dim=8, caption_channels=8, use_additional_conditions=False,
        norm_num_groups=4,
    )  # fmt: skip
    more = {
        "encoder_hidden_states": sequence(),
        "timestep": torch.tensor([5, 1, 2, 3]),
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }
    return Case(net, (image(4),), more, tolerance=1e-4)


@network("diffusers SD3Transformer2DModel")
def _() -> Case:
    from diffusers import SD3Transformer2DModel

    net = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=8, caption_projection_dim=16,
        pooled_projection_dim=8, out_channels=4, pos_embed_max_size=8,
    )  # fmt: skip
    pooled = torch.randn(4, 8, dtype=torch.float64)
    args = (image(4), sequence(), pooled, torch.tensor([5, 1, 2, 3]))
    return Case(net, args, tolerance=1e-4)


def flux(**options) -> Case:
    from diffusers import FluxTransformer2DModel

    net = FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=8, pooled_projection_dim=8,
        axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    more = {
        "encoder_hidden_states": sequence(5),
        "pooled_projections": torch.randn(4, 8, dtype=torch.float64),
        "timestep": torch.rand(4, dtype=torch.float64),
        "img_ids": torch.randint(0, 4, (9, 3)).float(),
        "txt_ids": torch.randint(0, 4, (5, 3)).float(),
    }
    return Case(net, (sequence(9, 4),), more, options, tolerance=1e-4)


@network("diffusers FluxTransformer2DModel")
def _() -> Case:
    return flux()


@network('diffusers FluxTransformer2DModel, in_dims={"img_ids": None, "txt_ids": None}')
def _() -> Case:
    return flux(in_dims={"img_ids": None, "txt_ids": None})


@network("diffusers AutoencoderKL")
def _() -> Case:
    from diffusers import AutoencoderKL

    net = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=2)
    return Case(net, (image(),))


@network("diffusers UNet1DModel")
def _() -> Case:
    from diffusers import UNet1DModel

    net = UNet1DModel(
        sample_size=16, in_channels=3, out_channels=3, block_out_channels=(8, 8),
        down_block_types=("DownResnetBlock1D",) * 2, up_block_types=("UpResnetBlock1D",),
        mid_block_type="MidResTemporalBlock1D", out_block_type="OutConv1DBlock",
        time_embedding_type="positional", use_timestep_embedding=True, freq_shift=1.0,
        flip_sin_to_cos=False, act_fn="swish", norm_num_groups=4,
    )  # fmt: skip
    x = torch.randn(4, 3, 16, dtype=torch.float64)
    return Case(net, (x, 7), tolerance=1e-4)


# transformers

SMALL = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
}


def some_padding() -> Tensor:
    mask = torch.ones(4, 5, dtype=torch.long)
    mask[1, 3:] = 0
    return mask


@network("transformers BertModel")
def _() -> Case:
    from transformers import BertConfig, BertModel

    more = {"input_ids": tokens(), "attention_mask": some_padding()}
    return Case(BertModel(BertConfig(**SMALL)), (), more)


def gpt2(**more) -> Case:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    return Case(GPT2LMHeadModel(config), (), {"input_ids": tokens(), **more})


@network("transformers GPT2LMHeadModel (tied), use_cache=False")
def _() -> Case:
    return gpt2(use_cache=False)


@network("transformers GPT2LMHeadModel, which returns a cache")
def _() -> Case:
    return gpt2()


@network("transformers GPT2LMHeadModel, labels=... (returns the mean loss)")
def _() -> Case:
    return gpt2(use_cache=False, labels=tokens())


def llama() -> Case:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**SMALL, num_key_value_heads=1)
    more = {"input_ids": tokens(), "attention_mask": some_padding(), "use_cache": False}
    return Case(LlamaForCausalLM(config), (), more, tolerance=1e-4)


@network("transformers LlamaForCausalLM")
def _() -> Case:
    return llama()


@network("transformers LlamaForCausalLM, gradient checkpointing")
def _() -> Case:
    case = llama()
    case.prepare, case.training = lambda net: net.gradient_checkpointing_enable(), True
    return case


@network("transformers T5EncoderModel")
def _() -> Case:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    return Case(T5EncoderModel(config), (), {"input_ids": tokens()}, tolerance=1e-4)


@network("transformers ViTModel")
def _() -> Case:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=8, patch_size=4,
    )  # fmt: skip
    return Case(ViTModel(config), (), {"pixel_values": image()})


# monai and segmentation_models_pytorch


@network("monai UNet")
def _() -> Case:
    from monai.networks.nets import UNet

    return Case(UNet(2, 1, 1, channels=(4, 8), strides=(2,), num_res_units=1), (image(1),))


@network("monai DiffusionModelUNet")
def _() -> Case:
    from monai.networks.nets import DiffusionModelUNet

    net = DiffusionModelUNet(
        2, 1, 1, num_res_blocks=1, channels=(8, 8), attention_levels=(False, True),
        num_head_channels=8, norm_num_groups=4,
    )  # fmt: skip
    return Case(net, (image(1), torch.tensor([5, 1, 2, 3])), tolerance=1e-4)


@network("monai SwinUNETR")
def _() -> Case:
    from monai.networks.nets import SwinUNETR

    net = SwinUNETR(
        1, 1, feature_size=12, spatial_dims=2, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)
    )
    return Case(net, (image(1, 64),))


@network("segmentation_models_pytorch Unet")
def _() -> Case:
    import segmentation_models_pytorch as smp

    channels = (8, 8, 4, 4, 4)
    net = smp.Unet("tu-test_resnet", encoder_weights=None, decoder_channels=channels)
    return Case(net, (image(3, 32),))


# torch


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)


@network("MultiheadAttention, batch_first=True")
def _() -> Case:
    return Case(SelfAttention(), (sequence(),))


def encoder(**options) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


@network("TransformerEncoder")
def _() -> Case:
    return Case(encoder(), (sequence(),))


@network("TransformerEncoder, padding, in training mode")
def _() -> Case:
    padding = some_padding() == 0
    return Case(encoder(), (sequence(),), {"src_key_padding_mask": padding}, training=True)


@network("TransformerEncoderLayer, batch_first=False, four tokens and four samples")
def _() -> Case:
    def samples(args: tuple, kwargs: dict, i: int) -> tuple[tuple, dict]:
        return tuple(x[:, i : i + 1] for x in args), kwargs

    options = {"in_dims": {"src": 1}, "out_dims": 1}
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    return Case(layer, (sequence(4),), {}, options, samples=samples, out_dims=[1])


@network("TransformerDecoder")
def _() -> Case:
    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    mask = nn.Transformer.generate_square_subsequent_mask(5).double()
    options = {"in_dims": {"tgt_mask": None}}
    net = nn.TransformerDecoder(layer, 1)
    return Case(net, (sequence(), sequence(3)), {"tgt_mask": mask}, options)


@network("LSTM, batch_first=True, out_dims=(0, (1, 1))")
def _() -> Case:
    net = nn.LSTM(8, 4, batch_first=True)
    return Case(net, (sequence(),), {}, {"out_dims": (0, (1, 1))}, out_dims=[0, 1, 1])


@network("LSTM, batch_first=True, no out_dims")
def _() -> Case:
    return Case(nn.LSTM(8, 4, batch_first=True), (sequence(),), out_dims=[0, 1, 1])


@network('GRU, in_dims={"input": 1, "hx": 1}, out_dims=(1, 1)')
def _() -> Case:
    def samples(args: tuple, kwargs: dict, i: int) -> tuple[tuple, dict]:
        return tuple(x[:, i : i + 1] for x in args), kwargs

    options = {"in_dims": {"input": 1, "hx": 1}, "out_dims": (1, 1)}
    args = (sequence().transpose(0, 1), torch.randn(1, 4, 3, dtype=torch.float64))
    return Case(nn.GRU(8, 3), args, {}, options, samples=samples, out_dims=[1, 1])


@network("Embedding")
def _() -> Case:
    net = nn.Sequential(nn.Embedding(20, 8), nn.LayerNorm(8), nn.Linear(8, 3))
    return Case(net, (tokens(),))


@network("EmbeddingBag")
def _() -> Case:
    return Case(nn.Sequential(nn.EmbeddingBag(20, 8), nn.Linear(8, 3)), (tokens(),))


class Upsample(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1)

    def forward(self, x):
        return self.up(self.down(x), output_size=x.shape[-2:])


@network("ConvTranspose2d with output_size")
def _() -> Case:
    return Case(Upsample(), (image(),))


class TiedAutoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 3)

    def forward(self, x):
        return F.linear(torch.tanh(self.a(x)), self.a.weight.t())


@network("Autoencoder tied by F.linear(x, self.a.weight.t())")
def _() -> Case:
    return Case(TiedAutoencoder(), (sequence(),))


def convolutions() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 3))


@network("parametrizations.weight_norm")
def _() -> Case:
    net = convolutions()
    nn.utils.parametrizations.weight_norm(net[0])
    return Case(net, (image(),))


@network("parametrizations.spectral_norm")
def _() -> Case:
    net = convolutions()
    nn.utils.parametrizations.spectral_norm(net[0])
    return Case(net, (image(),))


@network("parametrizations.orthogonal")
def _() -> Case:
    net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    nn.utils.parametrizations.orthogonal(net[0])
    return Case(net, (sequence(),))


@network("torch.nn.utils.spectral_norm (old)")
def _() -> Case:
    net = convolutions()
    nn.utils.spectral_norm(net[0])
    return Case(net, (image(),))


@network("torch.nn.utils.weight_norm (old)")
def _() -> Case:
    net = convolutions()
    nn.utils.weight_norm(net[0])
    net(torch.randn(1, 3, 8, 8))
    return Case(net, (image(),))


@network("torch.nn.utils.prune")
def _() -> Case:
    from torch.nn.utils import prune

    net = convolutions()
    prune.random_unstructured(net[0], "weight", 0.5)
    return Case(net, (image(),))


class Lists(nn.Module):
    def __init__(self):
        super().__init__()
        self.scales = nn.ParameterList([nn.Parameter(torch.randn(8)) for _ in range(2)])
        self.matrices = nn.ParameterDict({"a": nn.Parameter(torch.randn(8, 3))})

    def forward(self, x):
        for scale in self.scales:
            x = torch.tanh(x * scale)
        return x @ self.matrices["a"]


@network("ParameterList and ParameterDict")
def _() -> Case:
    return Case(Lists(), (sequence(),))


class Spectral(nn.Module):
    """A layer of a Fourier neural operator."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(8, 8, 3, dtype=torch.complex128))
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        modes = torch.fft.rfft(x, dim=1)
        modes = torch.einsum("bkc,cdk->bkd", modes, self.weight)
        return self.out(torch.fft.irfft(modes, n=x.shape[1], dim=1))


@network("Complex parameters (Fourier neural operator)")
def _() -> Case:
    return Case(Spectral(), (sequence(),))


class ComplexLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3, dtype=torch.complex128)

    def forward(self, x):
        return torch.view_as_real(self.layer(x.to(torch.complex128)))


@network("Linear with complex parameters")
def _() -> Case:
    return Case(ComplexLinear(), (sequence(),))


@network("Lazy modules that were not run")
def _() -> Case:
    return Case(nn.Sequential(nn.LazyLinear(3)), (sequence(),))


@network("torch.jit.script")
def _() -> Case:
    return Case(torch.jit.script(convolutions()), (image(),))


@network("torch.fx GraphModule")
def _() -> Case:
    return Case(torch.fx.symbolic_trace(Upsample()), (image(),))


class Compiled(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.compile(nn.Conv2d(3, 3, 3), backend="eager")

    def forward(self, x):
        return self.inner(x)


@network("A part compiled by torch.compile(part)")
def _() -> Case:
    return Case(Compiled(), (image(),))


class ByDictionary(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, batch):
        return {"a": self.a(batch["a"]), "b": (self.b(batch["b"]), self.a(batch["b"]))}


@network("A dictionary as input and output")
def _() -> Case:
    return Case(ByDictionary(), ({"a": sequence(), "b": sequence(3)},))


class InputAndScale(nn.Module):
    """Parameters used directly: a class token, a gain, an expression in a parameter."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.gain = nn.Parameter(torch.randn(8))
        self.temperature = nn.Parameter(torch.randn(()))
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        return x * self.gain * self.temperature.exp() - self.gain


@network("Parameters used directly, some unused")
def _() -> Case:
    return Case(InputAndScale(), (sequence(),))


class Checkpointed(nn.Module):
    def __init__(self, use_reentrant: bool):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.use_reentrant: bool | None = use_reentrant
        self.checkpointing = False

    def forward(self, x):
        def block(x):
            return torch.tanh(self.b(torch.tanh(self.a(x))))

        if not self.checkpointing:
            return block(block(x))
        for _ in range(2):
            x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=self.use_reentrant)
        return x


def checkpointed(use_reentrant: bool) -> Case:
    def prepare(net: nn.Module) -> None:
        net.checkpointing = True

    return Case(Checkpointed(use_reentrant), (sequence(),), prepare=prepare, training=True)


@network("checkpoint(..., use_reentrant=False) inside")
def _() -> Case:
    return checkpointed(False)


@network("checkpoint(..., use_reentrant=True) inside")
def _() -> Case:
    return checkpointed(True)


# Networks that refer to their parts in other ways than by attributes


class TwoLayers(nn.Module):
    """Runs `use(reference, x)` before its own layers, where `refer(self)` made the reference."""

    def __init__(self, refer: Callable, use: Callable):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.gain = nn.Parameter(torch.randn(8))
        self.reference = refer(self)
        self.use = use

    def forward(self, x):
        x = torch.tanh(self.use(self.reference, x))
        return self.b(torch.tanh(self.a(x))) * self.gain


def referring(refer: Callable, use: Callable = lambda layer, x: layer(x)) -> Case:
    return Case(TwoLayers(refer, use), (sequence(),), in_place=True)


class Strategy:
    """An object that is no module and uses one."""

    def __init__(self, layer: nn.Module):
        self.layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        return self.layer(x)


Pair = namedtuple("Pair", "a b")


def lambda_of(value: Any) -> Callable:
    return lambda x: value(x) if callable(value) else value * x


@network("An attribute: a list or dictionary of modules")
def _() -> Case:
    return referring(lambda net: [{"a": net.a}], lambda found, x: found[0]["a"](x))


@network("An attribute: a list of parameters")
def _() -> Case:
    return referring(lambda net: [net.gain], lambda found, x: x * found[0])


@network("An attribute: an OrderedDict of modules")
def _() -> Case:
    return referring(lambda net: OrderedDict(a=net.a), lambda found, x: found["a"](x))


@network("An attribute: a namedtuple of modules")
def _() -> Case:
    return referring(lambda net: Pair(net.a, net.b), lambda found, x: found.a(x))


@network("An attribute: an object that holds a module")
def _() -> Case:
    return referring(lambda net: Strategy(net.a))


@network("An attribute: a weakref.ref of a module")
def _() -> Case:
    return referring(lambda net: weakref.ref(net.a), lambda found, x: found()(x))


@network("An attribute: a method of a module")
def _() -> Case:
    return referring(lambda net: net.a.forward)


@network("An attribute: functools.partial of a module")
def _() -> Case:
    return referring(lambda net: partial(net.a))


@network("An attribute: functools.partial of a method")
def _() -> Case:
    return referring(lambda net: partial(net.a.forward))


@network("An attribute: functools.partial with parameters as keywords")
def _() -> Case:
    return referring(lambda net: partial(F.linear, weight=net.a.weight, bias=net.a.bias))


@network("An attribute: a lambda that holds a module")
def _() -> Case:
    return referring(lambda net: lambda_of(net.a))


@network("An attribute: a lambda that holds a parameter")
def _() -> Case:
    return referring(lambda net: lambda_of(net.gain))


@network("An attribute: a lambda that holds a method of a module")
def _() -> Case:
    return referring(lambda net: lambda_of(net.a.forward))


@network("An attribute: a lambda with a module as default value")
def _() -> Case:
    return referring(lambda net: lambda x, layer=net.a: layer(x))


def two_layers(**options: Any) -> Case:
    net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
    return Case(net, (sequence(),), in_place=True, **options)


@network("layer.forward = torch.autocast(...)(layer.forward), or another decorator")
def _() -> Case:
    def prepare(net: nn.Module) -> None:
        net[0].forward = torch.autocast("cpu", enabled=False)(net[0].forward)

    return two_layers(prepare=prepare)


class Adapted(nn.Module):
    """Adds the output of an adapter by a forward hook."""

    def __init__(self, hook: Callable):
        super().__init__()
        self.layer, self.adapter = nn.Linear(8, 8), nn.Linear(8, 8)
        self.layer.register_forward_hook(hook(self))

    def adapt(self, module, args, output):
        return output + self.adapter(args[0])

    def forward(self, x):
        return self.layer(x)


@network("A forward hook that is a method of the network")
def _() -> Case:
    return Case(Adapted(lambda net: net.adapt), (sequence(),), in_place=True)


@network("A forward hook that is a function with a module of the network")
def _() -> Case:
    def hook(net: nn.Module) -> Callable:
        return lambda module, args, output: output + net.adapter(args[0])

    return Case(Adapted(hook), (sequence(),), in_place=True)


@network("A forward hook that uses the module it is given")
def _() -> Case:
    def hook(net: nn.Module) -> Callable:
        return lambda module, args, output: output + args[0] @ module.weight

    return Case(Adapted(hook), (sequence(),), in_place=True)


class Sorted(nn.Module):
    """Runs the samples in the order of their lengths."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, x, lengths):
        order = lengths.argsort(descending=True)
        return self.layer(x[order])[order.argsort()]


@network("Samples sorted by length inside")
def _() -> Case:
    return Case(Sorted(), (sequence(), torch.tensor([3, 2, 5, 4])))


@network("Samples sorted by length inside, and the first batch is sorted")
def _() -> Case:
    first = (sequence(), torch.tensor([5, 4, 3, 2]))
    return Case(Sorted(), (sequence(), torch.tensor([3, 2, 5, 4])), first=first)


class Routed(nn.Module):
    """A mixture of experts: each sample is run by one of two."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(8, 3), nn.Linear(8, 3)])

    def forward(self, x):
        y = x.new_zeros(*x.shape[:-1], 3)
        for k, expert in enumerate(self.experts):
            mine = (x[:, 0, 0] > 0) == bool(k)
            if mine.any():
                y[mine] = expert(x[mine])
        return y


@network("Mixture of experts by sample")
def _() -> Case:
    x = sequence()
    x[:, 0, 0] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    return Case(Routed(), (x,))


@network("Mixture of experts by sample, and the first batch takes one expert")
def _() -> Case:
    x, first = sequence(), sequence()
    x[:, 0, 0], first[:, 0, 0] = torch.tensor([1.0, -1.0, 1.0, -1.0]), 1.0
    return Case(Routed(), (x,), first=(first,))


class PartlyFrozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen, self.layer = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        with torch.no_grad():
            features = self.frozen(x)
        return self.layer(torch.tanh(features))


@network("A part run under torch.no_grad()")
def _() -> Case:
    return Case(PartlyFrozen(), (sequence(),))


# of this project


@network("dpi DRUNet")
def _() -> Case:
    from dpi.architectures import DRUNet

    return Case(DRUNet(channels=(4, 8), num_blocks=1), (image(),))


@network("dpi ADM")
def _() -> Case:
    from dpi.architectures import ADM

    net = ADM(
        image_size=8, base_channels=8, channel_mult=(1, 2), attention_resolutions=(4,),
        head_channels=8, norm_groups=4,
    )  # fmt: skip
    return Case(net, (image(),))
