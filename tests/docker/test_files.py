"""What docker/ holds, without an engine: schemas, who gets which secret, sentences, and the Slurm script on a pretended cluster."""

import importlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from jsonschema.protocols import Validator

from tests.conftest import ROOT
from tests.docker.engine import Engine

DOCKER = ROOT / "docker"
SCHEMAS = ROOT / "tests/docker/schemas"
COMPOSE_FILES = ("compose.yaml", "worker.yaml", "lan.yaml", "s3.yaml", "gpu.yaml")
# What each service has of the secrets, and of what else names a database or a server.
SECRETS = {
    "postgres": {"MLFLOW_DB_PASSWORD", "STUDIES_DB_PASSWORD"},
    "mlflow": {"MLFLOW_PASSWORD", "MLFLOW_SECRET_KEY", "MLFLOW_DB_PASSWORD"},
    "head": {"RAY_AUTH_TOKEN", "MLFLOW_PASSWORD", "STUDIES_DB_PASSWORD"},
    "worker": {"RAY_AUTH_TOKEN"},
    "submit": {"RAY_AUTH_TOKEN"},
}


def read_schema(name: str) -> dict[str, Any]:
    return dict(json.loads((SCHEMAS / name).read_text()))


def problems(validator: Validator, content: Any) -> list[str]:
    """What breaks a schema; empty for valid content."""
    return [error.message for error in validator.iter_errors(content)]


def services(name: str = "compose.yaml") -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / name).read_text())["services"])


# -- compose --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_a_compose_file_follows_the_specification(name: str) -> None:
    assert (
        problems(jsonschema.Draft201909Validator(read_schema("compose-spec.json")), yaml.safe_load((DOCKER / name).read_text()))
        == []
    )


def test_a_compose_file_with_a_misspelt_key_does_not() -> None:
    content = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    content["services"]["head"]["enviroment"] = content["services"]["head"].pop("environment")
    (problem,) = problems(jsonschema.Draft201909Validator(read_schema("compose-spec.json")), content)
    assert "enviroment" in problem


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_an_engine_reads_the_compose_files(name: str, tmp_path: Path) -> None:
    engines = [Engine(program, tmp_path) for program in ("docker", "podman") if shutil.which(program)]
    commands = [engine.compose for engine in engines]
    command = next((each for each in commands if subprocess.run([*each, "version"], capture_output=True).returncode == 0), None)
    if command is None:
        pytest.skip("no engine with compose is here")
    asked = set(re.findall(r"\$\{(\w+):\?", "".join((DOCKER / name).read_text() for name in COMPOSE_FILES)))
    (tmp_path / "env").write_text("".join(f"{setting}=/somewhere\n" for setting in asked))  # STORE is a path
    files = [name] if name in {"compose.yaml", "worker.yaml"} else ["compose.yaml", name]
    places = [part for file in files for part in ("-f", str(DOCKER / file))]
    ended = subprocess.run([*command, "--env-file", str(tmp_path / "env"), *places, "config"], capture_output=True, text=True)
    assert ended.returncode == 0 and "services:" in ended.stdout, ended.stderr


@pytest.mark.parametrize(("name", "service"), [*(("compose.yaml", name) for name in SECRETS), ("worker.yaml", "worker")])
def test_each_service_gets_its_own_secrets_only(name: str, service: str) -> None:
    content = services(name)[service]
    every = set().union(*SECRETS.values())
    assert set(re.findall(r"\$\{(\w+)", yaml.safe_dump(content))) & every == SECRETS[service]
    assert not every & set(re.findall(r"\w+", f"{content.get('command')} {content.get('entrypoint')}"))
    uris = [value for value in content["environment"].values() if "://" in str(value)]
    assert not [uri for uri in uris if re.search(r"://[^/@]*:[^/@]*@", uri)]  # user:password@


@pytest.mark.parametrize("service", SECRETS)
def test_every_service_is_bounded_stoppable_and_unprivileged(service: str) -> None:
    content = services()[service]
    assert content["init"] is True and content["stop_grace_period"] == "90s"
    assert content["cap_drop"] == ["ALL"] and content["security_opt"] == ["no-new-privileges:true"]
    assert content["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert content["healthcheck"].get("test") or service == "submit"
    assert all(port.startswith("${LISTEN:-127.0.0.1}:") for port in content.get("ports", []))


def test_data_lies_in_named_volumes() -> None:
    content = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    mounted = {volume.split(":")[0] for service in content["services"].values() for volume in service["volumes"]}
    assert (
        {name for name in mounted if not name.startswith("$")}
        == set(content["volumes"])
        == {"database", "artifacts", "store", "spool"}
    )
    paths = [volume for service in ("head", "worker", "submit") for volume in services()[service]["volumes"] if "store:" in volume]
    assert paths == ["store:/store"] * 3


def test_every_setting_of_compose_is_in_the_example() -> None:
    example = (DOCKER / ".env.example").read_text()
    for name in set(re.findall(r"\$\{(\w+)[}:]", (DOCKER / "compose.yaml").read_text())):
        assert re.search(rf"^#? ?{name}=", example, re.M), name


# -- secrets --------------------------------------------------------------------------------------------------------------------


def test_new_env_makes_secrets_once_for_its_owner_alone(tmp_path: Path) -> None:
    for name in ("new-env", ".env.example"):
        shutil.copy(DOCKER / name, tmp_path)
    subprocess.run([tmp_path / "new-env"], check=True, capture_output=True)
    written = tmp_path / ".env"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    settings = dict(line.split("=", 1) for line in written.read_text().splitlines() if re.match(r"[A-Z]", line))
    secrets = [settings[name] for name in set().union(*SECRETS.values())]
    assert len(set(secrets)) == 5 and all(re.fullmatch(r"[0-9a-f]{64}", secret) for secret in secrets)
    again = subprocess.run([tmp_path / "new-env"], capture_output=True, text=True)
    assert again.returncode == 1 and "exists already" in again.stderr and again.stderr.count("\n") == 1


ENTRYPOINTS = {
    "a head without a token": ("head", {}, "RAY_AUTH_TOKEN is empty: set it in docker/.env, which docker/new-env creates"),
    "a head without a store": ("head", {"RAY_AUTH_TOKEN": "x"}, "/store cannot be written by user"),
    "MLflow without PostgreSQL": (
        "mlflow_server",
        {
            **{
                name: "x" for name in ("MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY")
            },
            "PGPASSWORD": "x",
            "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg://mlflow@127.0.0.1:1/mlflow",
        },
        "PostgreSQL does not answer within 0.1 s",
    ),
    "a worker without a token": ("worker", {}, "RAY_AUTH_TOKEN is empty"),
    "a worker without a head": (
        "worker",
        {"RAY_AUTH_TOKEN": "x", "HEAD_ADDRESS": "127.0.0.1:1"},
        "Ray's head at 127.0.0.1:1 does not answer within 0.1 s",
    ),
    "a worker without a store": (
        "worker",
        {"RAY_AUTH_TOKEN": "x", "RRM_STORAGE": "/nowhere"},
        "/nowhere cannot be written by user",
    ),
    "MLflow without a password": ("mlflow_server", {"MLFLOW_AUTH_ADMIN_USERNAME": "x"}, "MLFLOW_AUTH_ADMIN_PASSWORD is empty"),
    "nothing to submit": ("submit", {"RAY_AUTH_TOKEN": "x", "RRM_STORAGE": "/store"}, "SPEC is missing: "),
}


@pytest.mark.parametrize(("role", "settings", "sentence"), ENTRYPOINTS.values(), ids=ENTRYPOINTS.keys())
def test_what_a_container_lacks_is_a_sentence(role: str, settings: dict[str, str], sentence: str) -> None:
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "WAIT_SECONDS": "0.1"} | settings
    command = [sys.executable, DOCKER / f"entrypoints/{role}.py"]
    ended = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and ended.stderr.startswith(sentence) and ended.stderr.count("\n") == 1, ended.stderr


def test_the_head_replaces_its_mark_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCKER / "entrypoints"))
    head = importlib.import_module("head")
    monkeypatch.setattr(head, "STORE", tmp_path)
    (tmp_path / head.MARK).write_text("before")
    (tmp_path / "as_opened").hardlink_to(tmp_path / head.MARK)
    with pytest.raises(SystemExit):  # this Ray has ended
        ray = subprocess.Popen(["true"])
        ray.wait()
        head.publish(ray)
    assert (tmp_path / "as_opened").read_text() == "before" and len((tmp_path / head.MARK).read_text()) == 32


def test_postgresql_without_a_password_is_a_sentence() -> None:
    ended = subprocess.run([DOCKER / "entrypoints/postgres"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert ended.returncode == 1 and ended.stderr.startswith("MLFLOW_DB_PASSWORD is empty") and ended.stderr.count("\n") == 1


# -- Kubernetes -----------------------------------------------------------------------------------------------------------------

KINDS = {
    "Deployment": "io.k8s.api.apps.v1.Deployment",
    "Service": "io.k8s.api.core.v1.Service",
    "PersistentVolumeClaim": "io.k8s.api.core.v1.PersistentVolumeClaim",
    "NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
    "RayCluster": "RayCluster",
    "RayJob": "RayJob",
}
MANIFESTS = ("ray-cluster.yaml", "ray-job.yaml", "mlflow.yaml")


def manifests() -> Iterator[dict[str, Any]]:
    for name in MANIFESTS:
        yield from yaml.safe_load_all((DOCKER / "kuberay" / name).read_text())


def validator(kind: str) -> jsonschema.Draft202012Validator:
    definitions = read_schema("kubernetes.json")["$defs"] | read_schema("kuberay.json")["$defs"]
    return jsonschema.Draft202012Validator({"$defs": definitions, "$ref": f"#/$defs/{KINDS[kind]}"})


@pytest.mark.parametrize("manifest", manifests(), ids=lambda manifest: f"{manifest['kind']}-{manifest['metadata']['name']}")
def test_a_manifest_is_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    assert problems(validator(manifest["kind"]), manifest) == []


def test_a_manifest_with_a_misspelt_key_is_not() -> None:
    cluster = next(manifests())
    cluster["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["volumeMount"] = []
    (problem,) = problems(validator("RayCluster"), cluster)
    assert "volumeMount" in problem


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_a_manifest_is_what_kuberay_defines(kind: str) -> None:
    """Its own definitions, strictly: what Kubernetes would drop in silence is refused too."""
    folder = os.environ.get("KUBERAY_CRDS")
    if folder is None:
        pytest.skip("KUBERAY_CRDS names no folder of KubeRay's definitions")
    definition = yaml.safe_load((Path(folder) / f"ray.io_{kind.lower()}s.yaml").read_text())
    (version,) = (version for version in definition["spec"]["versions"] if version["name"] == "v1")
    (manifest,) = (manifest for manifest in manifests() if manifest["kind"] == kind)
    assert problems(jsonschema.Draft202012Validator(strict(version["schema"]["openAPIV3Schema"])), manifest) == []


def strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = "properties" in schema and "additionalProperties" not in schema and isinstance(schema["properties"], dict)
    return {name: strict(part) for name, part in schema.items()} | ({"additionalProperties": False} if closed else {})


def test_the_ray_cluster_keeps_the_head_free_of_trials_and_workers_of_passwords() -> None:
    cluster = next(manifests())["spec"]
    assert cluster["authOptions"]["mode"] == "token" and cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert "env" not in group["template"]["spec"]["containers"][0]
    limits = [group["template"]["spec"]["containers"][0]["resources"]["limits"] for group in cluster["workerGroupSpecs"]]
    assert any("nvidia.com/gpu" in limit for limit in limits)


def test_manifests_hold_no_secret() -> None:
    for manifest in manifests():
        assert manifest["kind"] != "Secret"
        for name, value in re.findall(r"name: (\w+)\n *value: (\S+)", yaml.safe_dump(manifest)):
            assert not re.search("PASSWORD|TOKEN|KEY", name) and not re.search(r"://[^/@]*:[^/@]*@", value)


# -- Slurm ----------------------------------------------------------------------------------------------------------------------

SBATCH = DOCKER / "slurm/sweep.sbatch"
PRETENDED = {
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    # A node: its environment is kept, and a head listens.
    "ray": """env > "$PRETENDED/node-$$"; echo "$@" >> "$PRETENDED/started"
        case "$*" in *--head*) exec python3 "$PRETENDED/listen" "$@";; *) exec sleep 60;; esac""",
    "rrm-sweep": """env > "$PRETENDED/driver"; echo "$@" >> "$PRETENDED/run"; trap "exit 130" TERM
        for i in $(seq 300); do sleep 0.1; done""",
    "scontrol": 'echo "$@" >> "$PRETENDED/scontrol"',
}
LISTEN = """
import socket, sys, time
port = next(int(option.split("=")[1]) for option in sys.argv if option.startswith("--port="))
server = socket.create_server(("", port))
time.sleep(60)
"""


def hear_interrupts() -> None:
    """As Slurm starts a script; a shell's background job, in which these tests may run, ignores SIGINT, and so would a child."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_the_slurm_script_stops_in_time_and_queues_itself_again(tmp_path: Path) -> None:
    """On a pretended cluster of three nodes: what Slurm's own commands would start is written down."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in PRETENDED.items():
        (programs / name).write_text(f"#!/bin/bash\n{body}\n")
        (programs / name).chmod(0o755)
    (tmp_path / "listen").write_text(LISTEN)
    given = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path), "PRETENDED": str(tmp_path),
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "3", "SLURM_CPUS_PER_TASK": "4",
        "MLFLOW_TRACKING_PASSWORD": "planted", "PGPASSWORD": "planted",
    }  # fmt: skip
    batch = subprocess.Popen(
        [SBATCH, "my.yaml", "/shared/runs"], env=given, stdout=subprocess.PIPE, text=True, preexec_fn=hear_interrupts
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (tmp_path / "run").exists():
        assert time.monotonic() < deadline and batch.poll() is None
        time.sleep(0.1)
    (token,) = (tmp_path / ".rrm").iterdir()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and len(token.read_text()) == 64
    time.sleep(0.5)
    batch.send_signal(signal.SIGINT)  # --signal=B:INT@120
    output, _ = batch.communicate(timeout=30)
    assert batch.returncode == 130 and "queued again" in output and not token.exists()
    assert (tmp_path / "scontrol").read_text() == f"requeue {os.getpid()}\n"
    assert (tmp_path / "run").read_text().startswith("run my.yaml --address ") and "/shared/runs" in (tmp_path / "run").read_text()
    head, worker = (tmp_path / "started").read_text().splitlines()
    assert "--head" in head and "--num-cpus=4" in head and worker.startswith("start --address=")
    for node in tmp_path.glob("node-*"):
        assert "RAY_AUTH_MODE=token" in node.read_text() and "planted" not in node.read_text()
    assert (tmp_path / "driver").read_text().count("planted") == 2


def test_the_slurm_script_asks_for_a_signal_and_to_be_queued_again() -> None:
    text = SBATCH.read_text()
    assert "#SBATCH --signal=B:INT@120" in text and "#SBATCH --requeue" in text
