"""The configuration file: what it may say, and what is said of what it may not."""

from pathlib import Path

import pytest

from inspector.errors import ConfigError
from inspector.training.config import Optimisation, TrainingConfig, read_config


def written(folder: Path, text: str) -> Path:
    path = folder / "some-run.toml"
    path.write_text(text)
    return path


def test_an_empty_file_is_the_defaults_under_the_files_name(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, "")) == TrainingConfig(name="some-run")


def test_every_entry_is_read(tmp_path: Path) -> None:
    text = """
        name = "facts"
        seed = 3
        vocabulary = 512
        snapshots = [0, 5]
        table_dtype = "bfloat16"
        [limits]
        capital = 9
        [optimisation]
        steps = 10
        lr = 1
        [model]
        hidden_size = 32
    """
    assert read_config(written(tmp_path, text)) == TrainingConfig(
        name="facts",
        seed=3,
        vocabulary=512,
        snapshots=(0, 5),
        table_dtype="bfloat16",
        limits={"capital": 9},
        optimisation=Optimisation(steps=10, lr=1),
        model={"hidden_size": 32},
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("steps = 5", "found steps; it may have"),
        ("[optimisation]\nstep = 5", "found optimisation.step; it may have"),
        ("optimisation = 5", "optimisation = 5 must be a table"),
        ("[optimisation]\nsteps = 0", "steps = 0 must be a whole number of at least 1"),
        ("[optimisation]\nsteps = 2.5", "steps = 2.5 must be a whole number"),
        ("[optimisation]\nbatch = true", "batch = True must be a whole number"),
        ("[optimisation]\nwarmup = 0", "warmup = 0 must be"),
        ("[optimisation]\nlr = 'fast'", "lr = 'fast' must be a number"),
        ("[optimisation]\nlr = nan", "lr = nan must be a number"),
        ("[optimisation]\nvalue_lr = -1.0", "value_lr = -1.0 must be a number of at least 0"),
        ("name = 5", "name = 5 must be a text"),
        ("seed = -1", "seed = -1 must be at least 0"),
        ("limits = 5", "limits = 5 must be a table"),
        ("[limits]\ncapital = 'all'", "must be a table of whole numbers"),
        ("model = []", r"model = \[\] must be a table"),
        ("snapshots = 5", "snapshots = 5 must be a list"),
        ("snapshots = [1601]", r"snapshots = \[1601\] must be a list of steps from 0 to 1600"),
        ("table_dtype = 'int8'", "table_dtype = 'int8' must be one of float32, bfloat16"),
        ("table_dtype = []", r"table_dtype = \[\] must be one of"),
        ("name = ", "is not a TOML file"),
    ],
)
def test_a_misfit_entry_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        read_config(tmp_path / "none.toml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not a TOML file"):
        read_config(path)
