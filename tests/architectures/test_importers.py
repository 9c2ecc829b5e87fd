import pytest
import torch

from dpi.architectures import ADM, DRUNet, import_dpir, import_guided_diffusion

ADM_HEADS = {
    "out_channels": 6,
    "image_size": 16,
    "base_channels": 32,
    "channel_mult": (1, 2, 3),
    "num_res_blocks": 2,
    "attention_resolutions": (8, 4),
    "num_heads": 4,
    "head_channels": None,
}
ADM_ADDITIVE = {
    "in_channels": 4,
    "image_size": 16,
    "base_channels": 64,
    "channel_mult": (1, 2),
    "attention_resolutions": (16,),
    "head_channels": 16,
    "modulation": "additive",
}


@pytest.mark.parametrize(
    ("name", "settings"),
    [("guided_diffusion_heads", ADM_HEADS), ("guided_diffusion_additive", ADM_ADDITIVE)],
)
def test_adm_matches_guided_diffusion(original, name, settings):
    run = original(name)
    net = ADM(time_embedding=True, **settings).eval()
    net.load_state_dict(import_guided_diffusion(run.state_dict))
    with torch.no_grad():
        torch.testing.assert_close(net(run.x, run.t), run.y, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dpir", {"in_channels": 4, "channels": (6, 8, 10, 12), "num_blocks": 2}),
        ("dpir_one_block", {"channels": (4, 4, 8, 6), "num_blocks": 1}),
    ],
)
def test_drunet_matches_dpir(original, name, settings):
    run = original(name)
    net = DRUNet(**settings).eval()
    net.load_state_dict(import_dpir(run.state_dict))
    with torch.no_grad():
        torch.testing.assert_close(net(run.x), run.y, rtol=0, atol=1e-5)


IMPORTERS = [
    (import_guided_diffusion, "guided_diffusion_heads"),
    (import_guided_diffusion, "guided_diffusion_additive"),
    (import_dpir, "dpir"),
    (import_dpir, "dpir_one_block"),
]


@pytest.mark.parametrize(("importer", "name"), IMPORTERS)
def test_importing_renames_without_copying(original, importer, name):
    theirs = original(name).state_dict
    ours = importer(theirs)
    assert [id(tensor) for tensor in ours.values()] == [id(tensor) for tensor in theirs.values()]


@pytest.mark.parametrize(("importer", "name"), IMPORTERS)
def test_every_missing_parameter_raises(original, importer, name):
    theirs = original(name).state_dict
    for missing in theirs:
        with pytest.raises(ValueError, match=r"m_|block|time_embed|out"):
            importer({key: tensor for key, tensor in theirs.items() if key != missing})


@pytest.mark.parametrize(
    "unknown",
    [
        "label_emb.weight",  # class-conditional
        "input_blocks.3.0.op.weight",  # resblock_updown=False, downsampling
        "output_blocks.2.1.conv.weight",  # resblock_updown=False, upsampling
        "input_blocks.1.0.in_layers.1.weight",
        "middle_block.3.norm.weight",
    ],
)
def test_a_name_unknown_to_guided_diffusion_raises(original, unknown):
    theirs = original("guided_diffusion_additive").state_dict | {unknown: torch.zeros(1)}
    with pytest.raises(ValueError, match=f"'{unknown}' is not"):
        import_guided_diffusion(theirs)


def test_pooling_instead_of_residual_blocks_raises(original):
    """With resblock_updown=False and conv_resample=False a stage has no parameters."""
    theirs = original("guided_diffusion_additive").state_dict
    theirs = {k: v for k, v in theirs.items() if not k.startswith("input_blocks.2.")}
    with pytest.raises(ValueError, match=r"input_blocks\.2\.0\.in_layers\.0\.weight'.* missing"):
        import_guided_diffusion(theirs)


@pytest.mark.parametrize("unknown", ["m_head.bias", "m_body.0.res.1.weight", "m_up3.7.weight"])
def test_a_name_unknown_to_dpir_raises(original, unknown):
    theirs = original("dpir").state_dict | {unknown: torch.zeros(1)}
    with pytest.raises(ValueError, match=f"'{unknown}' is not"):
        import_dpir(theirs)


def test_the_message_names_a_missing_parameter(original):
    theirs = original("dpir").state_dict
    del theirs["m_up2.1.res.2.weight"]
    with pytest.raises(ValueError, match=r"'m_up2\.1\.res\.2\.weight', .* is missing"):
        import_dpir(theirs)


@pytest.mark.parametrize("importer", [import_dpir, import_guided_diffusion])
def test_an_empty_state_dict_raises(importer):
    with pytest.raises(ValueError, match="missing"):
        importer({})
