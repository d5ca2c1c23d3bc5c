"""The only Streamlit code of the package: state, caches, the frame and what pages are made of."""
