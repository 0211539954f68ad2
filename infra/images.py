"""The images: built from this source tree, or already in a repository of the ledger's account."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecr_assets as assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.config import StageConfig

Target = Literal["lambda", "worker"]

ROOT: Final = Path(__file__).resolve().parent.parent
DOCKERFILE: Final = "docker/Dockerfile"
PLATFORM: Final = assets.Platform.LINUX_AMD64
FUNCTION_ARCHITECTURE: Final = lambda_.Architecture.X86_64
TASK_ARCHITECTURE: Final = ecs.CpuArchitecture.X86_64
"""x86-64, whatever machine deploys: what runs is what the tests run."""


class Image(Construct):
    """One target of the Dockerfile.

    An image that is built is named by what it is made of, so that a source tree deployed twice
    changes nothing the second time. Wheels that lie about in `build/` are not part of it.

    Attributes:
        repository: Where it is.
        tag: Which one it is there.
    """

    def __init__(self, scope: Construct, name: str, config: StageConfig, target: Target) -> None:
        super().__init__(scope, name)
        self.repository: ecr.IRepository
        if config.image.source == "repository":
            self.repository = ecr.Repository.from_repository_name(
                self, "Repository", config.image.repository
            )
            self.tag = f"{target}-{config.image.version}"
            return
        asset = assets.DockerImageAsset(
            self,
            "Asset",
            directory=str(ROOT),
            file=DOCKERFILE,
            target=target,
            platform=PLATFORM,
            # .dockerignore hides the Dockerfile from the builder, who needs it here all the same.
            exclude=["build", f"!{DOCKERFILE}"],
            display_name=f"{config.name}-{target}",
        )
        self.repository = asset.repository
        self.tag = asset.image_tag

    def function(self, handler: str) -> lambda_.DockerImageCode:
        """Return the code of a function that this image runs, given its handler."""
        return lambda_.DockerImageCode.from_ecr(
            self.repository, cmd=[handler], tag_or_digest=self.tag
        )

    def container(self) -> ecs.ContainerImage:
        """Return it for a container."""
        return ecs.ContainerImage.from_ecr_repository(self.repository, self.tag)
