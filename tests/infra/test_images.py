"""Images: what goes to the builder, and where those are that exist already."""

import json
from pathlib import Path

from tests.infra.conftest import Shaped
from tests.infra.resolved import Resolver
from tests.infra.shapes import ACCOUNT, Synthesised


def built(synthesised: Synthesised) -> tuple[dict[str, str], Path]:
    """Return how the only image is built, and the folder that goes to the builder."""
    [file] = synthesised.folder.glob("*Ledger*.assets.json")
    [image] = json.loads(file.read_bytes())["dockerImages"].values()
    return image["source"], synthesised.folder / image["source"]["directory"]


def test_functions_are_built_from_the_source_tree(shaped: Shaped) -> None:
    synthesised = shaped("functions-kinesis")
    source, folder = built(synthesised)
    assert source["dockerFile"] == "docker/Dockerfile"
    assert (source["dockerBuildTarget"], source["platform"]) == ("lambda", "linux/amd64")
    assert (folder / "docker/Dockerfile").is_file()
    assert (folder / "worker/data").is_dir()
    assert sorted(one.name for one in folder.iterdir()) == [
        *(".dockerignore", "LICENSE", "NOTICE", "README.md", "docker", "handlers"),
        *("pyproject.toml", "requirements", "tools", "worker"),
    ]
    assert not list(folder.rglob("__pycache__"))
    uris = {
        json.dumps(properties["Code"])
        for _, properties in Resolver(synthesised.ledger).of_type("AWS::Lambda::Function")
        if properties.get("PackageType") == "Image"
    }
    assert len(uris) == 1, "one image for all functions"


def test_the_container_is_built_from_the_source_tree(shaped: Shaped) -> None:
    source, _ = built(shaped("container-public"))
    assert (source["dockerBuildTarget"], source["platform"]) == ("worker", "linux/amd64")


def test_images_of_a_repository_are_tagged_by_target_and_version(shaped: Shaped) -> None:
    registry = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/ours"
    resolve = Resolver(shaped("functions-s3").ledger)
    found = {
        properties["Code"]["ImageUri"]
        for _, properties in resolve.of_type("AWS::Lambda::Function")
        if properties.get("PackageType") == "Image"
    }
    assert found == {f"{registry}:lambda-1.2.3"}
    resolve = Resolver(shaped("container-private").ledger)
    [(_, task)] = resolve.of_type("AWS::ECS::TaskDefinition")
    assert task["ContainerDefinitions"][0]["Image"] == f"{registry}:worker-1.2.3"
