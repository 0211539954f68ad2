"""What every object store promises, whatever keeps the objects."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from worker.adapters.memory_objects import MemoryObjectStore
from worker.adapters.s3_objects import S3ObjectStore
from worker.core.errors import UnreadableObjectError
from worker.ports import Folder, ObjectStore, StoredObject

NAMES = ("a.json", "a/1.json", "a/b/2.json", "a b/+ü%.json", "b//3.json", "a-c/4.json")
CONTENTS = {f"s3://call-logs/{name}": name.encode() * 3 for name in NAMES}


@pytest.fixture(scope="module", params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    if request.param == "memory":
        yield MemoryObjectStore(CONTENTS)
        return
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        with mock_aws():
            client = boto3.client("s3")
            client.create_bucket(Bucket="call-logs")
            for name, content in CONTENTS.items():
                key = name.removeprefix("s3://call-logs/")
                client.put_object(Bucket="call-logs", Key=key, Body=content)
            yield S3ObjectStore()


def test_objects_are_listed_in_order_of_name(store: ObjectStore) -> None:
    listed = list(store.objects("s3://call-logs/"))
    assert listed == [StoredObject(name, len(CONTENTS[name])) for name in sorted(CONTENTS)]
    assert [one.name for one in store.objects("s3://call-logs/a/")] == [
        "s3://call-logs/a/1.json",
        "s3://call-logs/a/b/2.json",
    ]
    assert list(store.objects("s3://call-logs/c")) == []


def test_a_level_has_its_objects_and_folders(store: ObjectStore) -> None:
    assert sorted(one.name for one in store.level("s3://call-logs/")) == [
        "s3://call-logs/a b/",
        "s3://call-logs/a-c/",
        "s3://call-logs/a.json",
        "s3://call-logs/a/",
        "s3://call-logs/b/",
    ]
    below = list(store.level("s3://call-logs/a/"))
    assert {type(one) for one in below} == {StoredObject, Folder}


@pytest.mark.parametrize("name", sorted(CONTENTS))
def test_objects_are_read_whole(store: ObjectStore, name: str) -> None:
    assert b"".join(store.open(name)) == CONTENTS[name]


def test_an_object_that_is_gone_is_unreadable(store: ObjectStore) -> None:
    with pytest.raises(UnreadableObjectError, match="nothing"):
        list(store.open("s3://call-logs/gone.json"))
