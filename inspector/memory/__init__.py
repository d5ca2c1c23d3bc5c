"""The architecture itself: product-key memory layers, readable beside the papers (torch only)."""
