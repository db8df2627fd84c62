"""python -m temper plugin: skeletons that work, checking, listing."""

import os
import shutil
import subprocess
import sys

import pytest

import temper

COMPILERS = {"c": "cc", "cpp": "c++", "swift": "swiftc"}
SOURCES = {"c": "mine.c", "cpp": "mine.cc", "swift": "mine.swift", "python": "mine.py", "formula": "mine.toml"}


def command(*words, folder, succeeds=True):
    done = subprocess.run(
        [sys.executable, "-m", "temper", "plugin", *map(str, words)], cwd=folder, capture_output=True, text=True
    )
    assert (done.returncode == 0) == succeeds, done.stderr
    return done.stdout if succeeds else done.stderr


@pytest.mark.parametrize("language", SOURCES)
def test_skeletons_work(tmp_path, language):
    if not shutil.which(COMPILERS.get(language, "true")):
        pytest.skip(f"{COMPILERS[language]} is not installed")
    command("new", "acme.mine", "--language", language, folder=tmp_path)
    says = command("check", SOURCES[language], folder=tmp_path)
    assert "acme.mine: value and gradient" in says and "65536 x 10:" in says
    assert "acme 0.1.0 (MIT)" in says and "training: loss" in says
    assert "exists already" in command("new", "acme.mine", "--language", language, folder=tmp_path, succeeds=False)


def test_what_new_prints_builds_it(tmp_path):
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler")
    printed = command("new", "mine", folder=tmp_path).splitlines()
    for line in printed:
        if line.startswith("  "):
            line = line.replace("python", sys.executable, 1) if line.startswith("  python") else line
            subprocess.run(line, shell=True, check=True, cwd=tmp_path, capture_output=True)
    assert (tmp_path / "mine.so").exists()


def test_names_are_checked(tmp_path):
    assert "is no name" in command("new", "Acme.Tail", folder=tmp_path, succeeds=False)
    assert not os.listdir(tmp_path)


def test_a_plugin_that_is_wrong_does_not_pass(tmp_path):
    (tmp_path / "wrong.py").write_text(
        "# /// temper\n# name = 'w'\n# [[loss]]\n# name = 'l'\n# function = 'l'\n# gradients = true\n# ///\n"
        "def l(x, y): return ((x - y) ** 2).sum(1), x - y\n"
    )
    assert "not that of its value" in command("check", "wrong.py", folder=tmp_path, succeeds=False)


def test_listing_runs_nothing(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    command("new", "acme.one", "--language", "python", folder=inside)
    command("new", "acme.two", "--language", "formula", folder=tmp_path)
    (tmp_path / "broken.toml").write_text("name = 'b'\n[[loss]]\nname = 'l'\nformula = '1 +'\n")
    (tmp_path / "settings.toml").write_text("colour = 'red'\n")
    (tmp_path / "script.py").write_text("print('hello')\n")
    (tmp_path / "empty.so").write_bytes(b"")
    ran = tmp_path / "ran"
    with (inside / "one.py").open("a") as file:
        file.write(f"\nopen({str(ran)!r}, 'w')\n")
    outside = tmp_path.parent / (tmp_path.name + "_outside.toml")
    shutil.copy(tmp_path / "two.toml", outside)
    (inside / "link.toml").symlink_to(outside)
    says = command("list", tmp_path, folder=tmp_path)
    assert "acme.one (python)" in says and "acme.two (formula)" in says
    assert "broken.toml\n  Formula, column 4" in says
    assert "link.toml\n  It lies at" in says and "outside the directories" in says
    assert not any(name in says for name in ("settings", "script", "empty"))
    assert not ran.exists()
    found = temper.list_plugins(temper.Context(plugin_directories=[inside]))
    assert [entry.get("name") for entry in found] == [None, "acme"]
    with pytest.raises(temper.errors.WrongState):
        temper.list_plugins(temper.Context())


def test_the_page_of_a_namespace(tmp_path):
    """A plug-in's entry says all of what the catalogue knows of it."""
    command("new", "acme.two", "--language", "formula", folder=tmp_path)
    context = temper.Context()
    temper.load_plugin(tmp_path / "two.toml", context=context)
    assert context.record("acme.two")["plugin"] == {
        "name": "acme", "version": "0.1.0", "licence": "MIT", "form": "formula", "gradient": "host", "isolated": False,
    }  # fmt: skip
    assert "Plug-in: acme 0.1.0, MIT; form: formula; gradient: derived by the host" in context.describe("acme.two")
