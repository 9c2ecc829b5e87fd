"""The LightningModule, its data, and what happens beside the optimizer steps."""
