"""The plugin keeps InstructForge's contract."""

import financial_sentiment

from instructforge.testing import check_plugin


def test_the_plugin_keeps_the_contract():
    check_plugin(financial_sentiment)
