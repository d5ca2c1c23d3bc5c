"""Results to Plotly figures; nothing is computed here."""
