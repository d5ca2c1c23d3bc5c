"""Questions asked of traces and values: each gives a frozen result, no plots, no Streamlit."""
