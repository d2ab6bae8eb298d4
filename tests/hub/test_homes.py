"""A home outlives its container: what people install is there under the next one, of another image too."""

from __future__ import annotations

import zipfile

import pytest
from hub.people import Hub, spawn, stop

pytestmark = pytest.mark.docker
# The environment has no registry here: it takes ipykernel from the image, as a person's own would bring it.
OWN = """
set -e
pip install --quiet --no-index --user /tmp/tiny-1-py3-none-any.whl
python -m venv ~/env
~/env/bin/pip install --quiet --no-index /tmp/tiny-1-py3-none-any.whl
echo /opt/neve/lib/python3.*/site-packages > $(echo ~/env/lib/python3.*/site-packages)/borrowed.pth
~/env/bin/python -m ipykernel install --user --name mine > /dev/null
echo 'import sys, tiny; print(sys.prefix, tiny.__file__.startswith(sys.prefix), tiny.WORD)' > ~/asks.py
"""


@pytest.fixture(scope="module")
def lab(bare_hub, image):
    return bare_hub(IMAGE=image)


@pytest.fixture(scope="module")
def api(lab):
    with lab.api("admin") as api:
        yield api
        stop(api, "admin")


def container(lab: Hub) -> str:
    return f"neve-{(lab.home / 'instance-id').read_text().strip()}-notebook-admin"


def test_what_people_install_is_there_in_a_new_container_of_a_new_image(lab, api, docker_engine, image, singleuser_image, tmp_path):
    wheel = tmp_path / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("tiny.py", "WORD = 'snow'\ndef main():\n    print(WORD)\n")
        packed.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        packed.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr("tiny-1.dist-info/entry_points.txt", "[console_scripts]\ntiny-says = tiny:main\n")
        packed.writestr("tiny-1.dist-info/RECORD", "")
    spawn(api, "admin")
    docker_engine.docker("cp", str(wheel), f"{container(lab)}:/tmp/")
    docker_engine.docker("exec", container(lab), "bash", "-c", OWN)
    before = docker_engine.docker("inspect", "-f", "{{.Id}} {{.Image}}", container(lab)).split()
    stop(api, "admin")

    made = docker_engine.docker("create", singleuser_image)
    number = docker_engine.docker("commit", "--change", "ENV NEVE_TEST_NEW=1", made, image)
    docker_engine.docker("rm", made)
    try:
        spawn(api, "admin")
        after = docker_engine.docker("inspect", "-f", "{{.Id}} {{.Image}}", container(lab)).split()
        assert after[0] != before[0] and after[1] == number != before[1]

        def says(*command: str) -> str:
            return docker_engine.docker("exec", container(lab), *command)

        assert says("tiny-says") == "snow"
        assert says("python", "asks.py") == "/opt/neve False snow"
        assert says("env/bin/python", "asks.py") == "/home/jovyan/env True snow"
        assert says("jupyter", "run", "--kernel=mine", "asks.py") == "/home/jovyan/env True snow"
        stop(api, "admin")
    finally:
        docker_engine.docker("tag", singleuser_image, image)
        docker_engine.docker("rmi", "-f", number, check=False)


def test_nothing_of_ones_own_takes_the_place_of_what_the_lab_runs_on(lab, api, docker_engine):
    spawn(api, "admin")
    shadow = "mkdir -p ~/.local/bin; echo exit 9 > ~/.local/bin/neve-singleuser; chmod +x ~/.local/bin/neve-singleuser; command -v neve-singleuser"
    assert docker_engine.docker("exec", container(lab), "sh", "-c", shadow) == "/opt/neve/bin/neve-singleuser"
    order = "import sys, numpy, site; print(sys.path.index(site.getusersitepackages()) > sys.path.index(numpy.__path__[0].removesuffix('/numpy')))"
    assert docker_engine.docker("exec", container(lab), "python", "-c", order) == "True"
