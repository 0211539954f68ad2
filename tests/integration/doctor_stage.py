"""A stage in LocalStack, made through the API as a deployment makes it, part by part."""

import json
import uuid
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from tests.dynamodb import ENVIRONMENT
from worker.adapters.dynamodb_items import table_definitions
from worker.adapters.dynamodb_state import state_table_definition
from worker.settings.deployment import Deployment, Rule, Subscription, encode_deployment

REGION: Final = ENVIRONMENT["AWS_REGION"]
ACCOUNT: Final = "000000000000"
ALL_EVENTS: Final = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
ROLE: Final = f"arn:aws:iam::{ACCOUNT}:role/any"
PATTERN: Final = json.dumps({"source": ["aws.bedrock"]})


class Stage:
    """A stage that is made, and whose parts can be made again.

    Args:
        endpoint: Of LocalStack.

    Attributes:
        name: What all its names begin with.
        path: Of its parameters.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.name = f"d{uuid.uuid4().hex[:10]}"
        self.path = f"/{self.name}/dev"
        self.queue = self.dead = ""
        self.stream, self.bus, self.group = f"{self.name}-logs", self.name, f"/{self.name}/calls"
        self.bucket, self.quarantine = f"{self.name}-logs", f"{self.name}-quarantine"
        self.rule, self.own_rule = f"{self.name}-calls", f"{self.name}-suspend"
        self.log_filter = f"{self.name}-to-stream"
        self.topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:{self.name}-people"
        self.machine = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{self.name}-suspend"
        self.key = ""
        self.client: Callable[[str], Any] = cache(self._client)

    def _client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self._endpoint,
            region_name=REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=boto3.session.Config(s3={"addressing_style": "path"}),
        )

    def make(self) -> None:
        """Make all of it."""
        self.key = self.client("kms").create_key()["KeyMetadata"]["Arn"]
        for part in (
            self.make_queues,
            self.make_stream,
            self.make_buckets,
            self.make_buses,
            self.make_log_group,
            self.make_topic,
            self.make_machine,
        ):
            part()
        for definition in self.definitions():
            self.make_table(definition)
        self.make_parameter()

    # --- Parts ------------------------------------------------------------------------------------

    def make_queues(self) -> None:
        sqs = self.client("sqs")
        self.dead = sqs.create_queue(QueueName=f"{self.name}-dead-letters")["QueueUrl"]
        self.queue = sqs.create_queue(QueueName=f"{self.name}-events")["QueueUrl"]
        redrive = {"deadLetterTargetArn": self.arn_of(self.dead), "maxReceiveCount": "5"}
        attributes = {"RedrivePolicy": json.dumps(redrive)}
        sqs.set_queue_attributes(QueueUrl=self.queue, Attributes=attributes)

    @staticmethod
    def arn_of(queue: str) -> str:
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue.rpartition('/')[2]}"

    def make_stream(self) -> None:
        kinesis = self.client("kinesis")
        kinesis.create_stream(StreamName=self.stream, ShardCount=1)
        kinesis.get_waiter("stream_exists").wait(
            StreamName=self.stream, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )

    @property
    def stream_arn(self) -> str:
        return f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{self.stream}"

    def make_buckets(self) -> None:
        for name in (self.bucket, self.quarantine):
            self.client("s3").create_bucket(Bucket=name)
            self.make_policy(name)
        self.make_notifications()

    def make_policy(self, bucket: str) -> None:
        statement = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.client("s3").put_bucket_policy(Bucket=bucket, Policy=policy)

    def make_notifications(self) -> None:
        told = [{"QueueArn": self.arn_of(self.queue), "Events": ["s3:ObjectCreated:*"]}]
        self.client("s3").put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration={"QueueConfigurations": told}
        )

    def make_buses(self) -> None:
        self.client("events").create_event_bus(Name=self.bus)
        self.make_rule(self.rule, "default", ALL_EVENTS)
        self.make_rule(self.own_rule, self.bus, "ENABLED")

    def make_rule(self, name: str, bus: str, state: str) -> None:
        events = self.client("events")
        events.put_rule(Name=name, EventBusName=bus, EventPattern=PATTERN, State=state)
        targets = [{"Id": "queue", "Arn": self.arn_of(self.queue)}]
        events.put_targets(Rule=name, EventBusName=bus, Targets=targets)

    def make_log_group(self) -> None:
        logs = self.client("logs")
        logs.create_log_group(logGroupName=self.group)
        logs.put_retention_policy(logGroupName=self.group, retentionInDays=30)
        self.make_filter("Random")

    def make_filter(self, distribution: str) -> None:
        self.client("logs").put_subscription_filter(
            logGroupName=self.group,
            filterName=self.log_filter,
            filterPattern="",
            destinationArn=self.stream_arn,
            roleArn=ROLE,
            distribution=distribution,
        )

    def make_topic(self) -> None:
        self.client("sns").create_topic(Name=f"{self.name}-people")
        self.client("sns").subscribe(
            TopicArn=self.topic, Protocol="sqs", Endpoint=self.arn_of(self.queue)
        )

    def make_machine(self) -> None:
        definition = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
        self.client("stepfunctions").create_state_machine(
            name=f"{self.name}-suspend", definition=json.dumps(definition), roleArn=ROLE
        )

    def definitions(self) -> list[dict[str, Any]]:
        return [*table_definitions(self.name), state_table_definition(self.name)]

    def make_table(self, definition: dict[str, Any]) -> None:
        dynamodb, name = self.client("dynamodb"), definition["TableName"]
        dynamodb.create_table(
            **definition,
            DeletionProtectionEnabled=True,
            SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": self.key},
        )
        dynamodb.get_waiter("table_exists").wait(TableName=name)
        dynamodb.update_continuous_backups(
            TableName=name,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
        )
        if not name.endswith("-entries"):
            dynamodb.update_time_to_live(
                TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "x"}
            )

    def remove_table(self, name: str) -> None:
        dynamodb = self.client("dynamodb")
        dynamodb.update_table(TableName=name, DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=name)
        dynamodb.get_waiter("table_not_exists").wait(TableName=name)

    def deployment(self) -> Deployment:
        return Deployment(
            name=self.name,
            account=ACCOUNT,
            region=REGION,
            shape="container",
            logs="kinesis",
            switched_on=True,
            regions=(REGION,),
            log_group=self.group,
            log_bucket=self.bucket,
            subscriptions=(Subscription(REGION, self.group, self.log_filter),),
            rules=(
                Rule(REGION, "default", self.rule, all_events=True, why="calls of models"),
                Rule(REGION, self.bus, self.own_rule, why="suspensions"),
            ),
            queues=(self.queue,),
            dead_letters=(self.dead,),
            streams=(self.stream,),
            bus=self.bus,
            quarantine=f"s3://{self.quarantine}/records",
            state_machines={"suspend": self.machine},
            topics={"people": self.topic},
            enforcement="workflows",
            customer_key=self.key,
        )

    def make_parameter(self) -> None:
        self.client("ssm").put_parameter(
            Name=f"{self.path}/deployment",
            Value=encode_deployment(self.deployment()),
            Type="String",
            Overwrite=True,
        )

    def remove(self) -> None:
        """Remove what costs the engine most: the stream and the tables."""
        self.client("kinesis").delete_stream(StreamName=self.stream)
        for definition in self.definitions():
            try:
                self.remove_table(definition["TableName"])
            except ClientError:
                continue  # A test that failed left it removed.
