"""The training page in a real browser: charts are drawn, and a record grows under one's eyes."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
import torch
from playwright.sync_api import Page, expect
from torch import nn

from inspector.memory.layer import MemoryShape, ProductKeyMemory
from inspector.memory.values import ValueTable
from inspector.training.monitor import Monitor

pytestmark = pytest.mark.browser

RECORD = ".st-key-record-headline .sentence"
SWEEP = ".st-key-sweep-headline .sentence"


class Model(nn.Module):
    """One memory layer on an embedding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        shape = MemoryShape(d_model=8, heads=2, knn=2, half_keys=4, d_key=8, d_value=8)
        self.embedding, self.table = nn.Embedding(9, 8), ValueTable(16, 8)
        self.memory = ProductKeyMemory(shape, self.table)
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.memory(self.embedding(ids))
        return found


def test_a_first_deep_link_shows_a_record_that_grows(
    page: Page, address: str, tmp_path: Path
) -> None:
    model = Model().train()
    monitor = Monitor(model, tmp_path / "monitor", every=1, window=1, budget=None)
    for step in (1, 2, 3):
        model(torch.randint(9, (3, 4)))
        monitor.step(step)
    page.goto(f"{address}/training?{urlencode({'view': 'watch', 'run': tmp_path})}")
    expect(page.locator(RECORD)).to_contain_text("Growing: after step 3")
    expect(page.locator(".js-plotly-plot")).to_have_count(4)
    model(torch.randint(9, (3, 4)))
    monitor.step(4)  # nobody touches the page
    expect(page.locator(RECORD)).to_contain_text("Growing: after step 4")
    page.get_by_text("What memory buys", exact=True).click()
    expect(page.locator(RECORD)).to_have_count(0)
    monitor.close()


def test_the_sweep_that_ships_is_drawn(page: Page, address: str) -> None:
    page.goto(f"{address}/training")
    expect(page.locator(SWEEP)).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(3)
    page.get_by_text("asked in held-out phrasings").click()
    expect(page).to_have_url(re.compile("phrasing=heldout"))
    expect(page.locator(".js-plotly-plot")).to_have_count(3)
