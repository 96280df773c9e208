"""A network named as on the command line: found, built, and every mistake named."""

import sys
from pathlib import Path

import pytest
from torch import nn

from sweetgrad.profiling import load_model

CODE = """
from dataclasses import dataclass
from torch import nn
import widths_beside_it

@dataclass
class Config:
    width: int = widths_beside_it.WIDTH

def build():
    return nn.Linear(Config().width, 2)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)

ready = nn.Linear(5, 1)
number = 3

def needs(width):
    return nn.Linear(width, 2)

def deep():
    return nn.Linear(2, "x")

def nothing():
    return {"a": 1}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "widths_beside_it", raising=False)
    (tmp_path / "widths_beside_it.py").write_text("WIDTH = 7\n")
    (tmp_path / "model.py").write_text(CODE)
    return tmp_path / "model.py"


def test_load_model__takes_a_function_a_class_and_a_module(file: Path) -> None:
    built = load_model(f"{file}:build")()
    assert isinstance(built, nn.Linear)
    assert built.in_features == 7
    assert type(load_model(f"{file}:Net")()).__name__ == "Net"
    assert load_model(f"{file}:ready")().in_features == 5


def test_load_model__builds_anew_at_every_call(file: Path) -> None:
    build = load_model(f"{file}:build")
    assert build() is not build()


def test_load_model__imports_what_is_installed() -> None:
    assert isinstance(load_model("torch.nn:Identity")(), nn.Identity)


@pytest.mark.parametrize("name", ["model.py", ":build", "model.py:", ""])
def test_load_model__says_how_a_network_is_named(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"a network must be given as FILE\.py:FUNCTION.*torchvision\.models:resnet18; got"
    ):
        load_model(name)


def test_load_model__names_a_file_or_function_that_is_not_there(file: Path) -> None:
    with pytest.raises(ValueError, match=r"no such file: .*modell\.py; its folder has model\.py, widths_beside_it\.py"):
        load_model(f"{file.with_name('modell.py')}:build")
    with pytest.raises(ValueError, match=r"model\.py has no 'biuld'\. Did you mean build\?"):
        load_model(f"{file}:biuld")
    with pytest.raises(ValueError, match=r"model\.py:number is of type int: name a function that returns"):
        load_model(f"{file}:number")
    with pytest.raises(ValueError, match=r"'no_such_package\.models' cannot be imported: .*Install the package"):
        load_model("no_such_package.models:build")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import no_such_dependency",
            r"ModuleNotFoundError: No module named 'no_such_dependency' \(models\.py, line 1\)",
        ),
        ("from torch import no_such_name", r"ImportError: cannot import name 'no_such_name' .*\(models\.py, line 1\)"),
        (
            "x = 1\nraise RuntimeError('torchvision::nms does not exist')",
            r"torchvision::nms .*\(models\.py, line 2\)",
        ),
        ("raise OSError('libcudart.so.12: cannot open')", r"OSError: libcudart\.so\.12"),
        ("raise SystemExit(3)", r"SystemExit: 3"),
        (
            "try:\n    import no_such_dependency\nexcept ImportError as e:\n    raise ImportError('read the manual') from e",
            r"ImportError: read the manual; caused by ModuleNotFoundError: No module named 'no_such_dependency'",
        ),
        (
            "try:\n    1 / 0\nexcept ArithmeticError:\n    raise RuntimeError('it went wrong')",
            r"RuntimeError: it went wrong; caused by ZeroDivisionError: division by zero",
        ),
    ],
)
def test_load_model__gives_the_cause_where_an_installed_module_cannot_be_imported(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_vision").mkdir()
    (tmp_path / "broken_vision" / "__init__.py").write_text("")
    (tmp_path / "broken_vision" / "models.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_vision", raising=False)
    with pytest.raises(
        ValueError, match=f"module 'broken_vision.models' is installed, but importing it fails: .*{message}"
    ) as told:
        load_model("broken_vision.models:build")
    assert "Install the package" not in str(told.value)
    with pytest.raises(
        ValueError, match=r"'broken_vision\.modells' cannot be imported: .*Install the package that contains it"
    ):
        load_model("broken_vision.modells:build")
    sys.modules.pop("broken_vision", None)


def test_load_model__says_what_a_function_did_wrong_and_where(file: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.py:nothing returned dict: it must return the network"):
        load_model(f"{file}:nothing")()
    with pytest.raises(
        ValueError, match=r"missing 1 required positional argument: 'width'\. It is called without arguments"
    ):
        load_model(f"{file}:needs")()
    line = 1 + CODE.splitlines().index('    return nn.Linear(2, "x")')
    with pytest.raises(ValueError, match=rf"model\.py:deep raised TypeError: .* \(model\.py, line {line}\)$"):
        load_model(f"{file}:deep")()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(:", "SyntaxError: invalid syntax"),
        (
            "a = 1\nimport no_such_package",
            r"ModuleNotFoundError: No module named 'no_such_package' \(model\.py, line 2\)",
        ),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
    ],
)
def test_load_model__says_why_a_file_cannot_be_loaded(file: Path, code: str, message: str) -> None:
    file.write_text(code)
    with pytest.raises(ValueError, match=rf"model\.py cannot be loaded: {message}"):
        load_model(f"{file}:build")
    assert "_sweetgrad_model_model" not in sys.modules
