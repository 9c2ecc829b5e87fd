import pytest
import torch

from dpi.architectures import ADM, DRUNet, import_dpir, import_guided_diffusion

HEADS = {
    "out_channels": 6,
    "image_size": 16,
    "base_channels": 32,
    "channel_mult": (1, 2, 3),
    "num_res_blocks": 2,
    "attention_resolutions": (8, 4),
    "num_heads": 4,
    "head_channels": None,
    "time_embedding": True,
}
ADDITIVE = {
    "in_channels": 4,
    "image_size": 16,
    "base_channels": 64,
    "channel_mult": (1, 2),
    "attention_resolutions": (16,),
    "head_channels": 16,
    "modulation": "additive",
    "time_embedding": True,
}
DPIR = {"in_channels": 4, "channels": (6, 8, 10, 12), "num_blocks": 2}
ONE_BLOCK = {"channels": (4, 4, 8, 6), "num_blocks": 1}


@pytest.mark.parametrize(
    ("name", "importer", "network", "settings"),
    [
        ("guided_diffusion_heads", import_guided_diffusion, ADM, HEADS),
        ("guided_diffusion_additive", import_guided_diffusion, ADM, ADDITIVE),
        ("dpir", import_dpir, DRUNet, DPIR),
        ("dpir_one_block", import_dpir, DRUNet, ONE_BLOCK),
    ],
)
def test_the_output_is_that_of_the_original(original, name, importer, network, settings):
    run = original(name)
    ours = importer(run.state_dict)
    assert [id(tensor) for tensor in ours.values()] == [id(t) for t in run.state_dict.values()]
    net = network(**settings).eval()
    net.load_state_dict(ours)
    inputs = (run.x,) if run.t is None else (run.x, run.t)
    with torch.no_grad():
        torch.testing.assert_close(net(*inputs), run.y, rtol=0, atol=1e-5)
    for missing in run.state_dict:
        others = {key: tensor for key, tensor in run.state_dict.items() if key != missing}
        with pytest.raises(ValueError, match=r"m_|block|time_embed|out"):
            importer(others)


@pytest.mark.parametrize(
    ("importer", "name", "unknown"),
    [
        # class-conditional; resblock_updown=False, down- and upsampling
        (import_guided_diffusion, "guided_diffusion_additive", "label_emb.weight"),
        (import_guided_diffusion, "guided_diffusion_additive", "input_blocks.3.0.op.weight"),
        (import_guided_diffusion, "guided_diffusion_additive", "output_blocks.2.1.conv.weight"),
        (import_guided_diffusion, "guided_diffusion_additive", "middle_block.3.norm.weight"),
        (import_dpir, "dpir", "m_head.bias"),
        (import_dpir, "dpir", "m_body.0.res.1.weight"),
        (import_dpir, "dpir", "m_up3.7.weight"),
    ],
)
def test_an_unknown_name_raises(original, importer, name, unknown):
    theirs = original(name).state_dict | {unknown: torch.zeros(1)}
    with pytest.raises(ValueError, match=f"'{unknown}' is not"):
        importer(theirs)


@pytest.mark.parametrize(
    ("importer", "name", "without", "message"),
    [
        # With resblock_updown=False and conv_resample=False a stage has no parameters.
        (
            import_guided_diffusion,
            "guided_diffusion_additive",
            "input_blocks.2.",
            r"input_blocks\.2\.0\.in_layers\.0\.weight'.* missing",
        ),
        (import_dpir, "dpir", "m_up2.1.res.2", r"'m_up2\.1\.res\.2\.weight', .* is missing"),
        (import_guided_diffusion, "dpir", "", "missing"),
        (import_dpir, "dpir", "", "missing"),
    ],
)
def test_the_message_names_a_missing_parameter(original, importer, name, without, message):
    theirs = original(name).state_dict
    with pytest.raises(ValueError, match=message):
        importer({key: tensor for key, tensor in theirs.items() if not key.startswith(without)})
