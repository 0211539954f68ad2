"""Faults of a stage's account: what is gone, off, behind or otherwise than it was made."""

from typing import Any, Final

import msgspec

from tests.calls import HOUR
from tests.unit.doctor.planting import Fault, keeper
from tests.unit.doctor.world import (
    ACCOUNT,
    ALL_EVENTS,
    AWAY,
    BUCKET,
    DEAD,
    DEAD_ARN,
    FAR_LOG_ROLE,
    GROUP,
    HOME,
    KEY,
    LOG_ROLE,
    MACHINE,
    NAME,
    PATTERN,
    QUARANTINE,
    QUEUE,
    QUEUE_ARN,
    STREAM,
    STREAM_ARN,
    TRAIL,
    World,
)
from worker.ports.account import (
    BucketState,
    Caller,
    FunctionState,
    InvocationLogging,
    LogFilter,
    LogGroup,
    MappingState,
    QueueState,
    RuleState,
    ServiceState,
    StreamState,
    Trail,
)

CALLS: Final = (HOME, "default", f"{NAME}-calls")
FILTER: Final = f"{NAME}-to-stream"


FAULTS: Final[list[Fault]] = []
fault = keeper(FAULTS)


# --- The account ------------------------------------------------------------------------------


@fault("credentials", "clock is 6 minutes ahead of AWS's", "timedatectl")
def clock_ahead(world: World) -> None:
    world.account.identity = Caller(ACCOUNT, "arn:aws:iam::1:user/ops", 6 * 60_000)


@fault("credentials", "clock is 2 hours behind AWS's", "timedatectl")
def clock_behind_so_that_aws_refuses(world: World) -> None:
    world.account.identity = Caller("", "", -2 * HOUR)


@fault("credentials", "of account 999988887777, the stage's is 111122223333", "AWS_PROFILE=")
def another_account(world: World) -> None:
    world.account.identity = Caller("999988887777", "arn:aws:iam::999988887777:user/ops")


@fault("key", "the key is Disabled", f"aws kms enable-key --key-id {KEY}")
def key_disabled(world: World) -> None:
    world.account.keys[KEY] = "Disabled"


@fault("key", "about to be deleted", "aws kms cancel-key-deletion")
def key_about_to_go(world: World) -> None:
    world.account.keys[KEY] = "PendingDeletion"


@fault("key", "no such key", "REVERT_DRIFT")
def key_gone(world: World) -> None:
    world.account.keys.clear()


# --- Invocation logs --------------------------------------------------------------------------


@fault(
    "invocation-logging",
    "logging is off",
    f'"roleArn":"{FAR_LOG_ROLE}"}}}}\' --region us-east-1',
)
def logging_off_in_one_region(world: World) -> None:
    del world.account.logging[AWAY]


@fault("invocation-logging", "logs go to /elsewhere, not to this stage", GROUP)
def logging_elsewhere(world: World) -> None:
    world.account.logging[HOME] = InvocationLogging(log_group="/elsewhere")


@fault("invocation-logging", "off", "ROLE_ARN is the role that Bedrock writes logs with")
def logging_off_and_no_role(world: World) -> None:
    del world.account.logging[HOME]
    world.account.roles.clear()


@fault("log-group", "no such log group", f"starts_with(StackName, '\"'\"'{NAME}-'\"'\"')")
def log_group_gone_elsewhere(world: World) -> None:
    del world.account.groups[AWAY, GROUP]


@fault("log-group", "never forgets", "put-retention-policy", "warning")
def log_group_for_ever(world: World) -> None:
    world.account.groups[HOME, GROUP] = LogGroup(GROUP)


@fault("log-filter", "no such subscription filter", "REVERT_DRIFT")
def filter_gone(world: World) -> None:
    world.account.filters.clear()


@fault("log-filter", "distribution is ByLogStream", "--distribution Random")
def filter_by_stream(world: World) -> None:
    world.account.filters[HOME, GROUP] = [LogFilter(FILTER, STREAM_ARN, "ByLogStream", LOG_ROLE)]


@fault("log-filter", "which is not this stage's", "REVERT_DRIFT")
def filter_elsewhere(world: World) -> None:
    other = STREAM_ARN.replace("dev", "prod")
    world.account.filters[HOME, GROUP] = [LogFilter(FILTER, other, "Random", LOG_ROLE)]


@fault("log-bucket", "nobody is told of new logs", "REVERT_DRIFT")
def bucket_silent(world: World) -> None:
    world.account.buckets[BUCKET] = BucketState(BUCKET)


@fault("log-bucket", "no such bucket", "REVERT_DRIFT")
def bucket_gone(world: World) -> None:
    del world.account.buckets[BUCKET]


@fault("log-bucket", "does not encrypt", "put-bucket-encryption")
def bucket_plain(world: World) -> None:
    world.account.buckets[BUCKET] = BucketState(BUCKET, is_encrypted=False, tells_bus=True)


@fault("quarantine-bucket", "without TLS", "REVERT_DRIFT")
def quarantine_without_tls(world: World) -> None:
    world.account.buckets[QUARANTINE] = BucketState(QUARANTINE, is_tls_only=False)


@fault("quarantine-bucket", "no such bucket", "REVERT_DRIFT")
def quarantine_bucket_gone(world: World) -> None:
    del world.account.buckets[QUARANTINE]


# --- Events -----------------------------------------------------------------------------------


@fault("rule", "no such rule on the bus default", "REVERT_DRIFT")
def rule_gone(world: World) -> None:
    del world.account.rules[CALLS]


@fault("rule", "the rule is DISABLED", f"--state {ALL_EVENTS}")
def rule_disabled(world: World) -> None:
    world.account.rules[CALLS] = RuleState("DISABLED", 1, PATTERN)


@fault("rule", "the rule is DISABLED", "aws events enable-rule")
def plain_rule_disabled(world: World) -> None:
    world.account.rules[AWAY, "default", f"{NAME}-iam"] = RuleState("DISABLED", 1, PATTERN)


@fault("rule", f"is ENABLED, not {ALL_EVENTS}", f"--event-pattern '{PATTERN}'")
def rule_without_reads(world: World) -> None:
    world.account.rules[CALLS] = RuleState("ENABLED", 1, PATTERN)


@fault("rule", "no target", "REVERT_DRIFT")
def rule_without_target(world: World) -> None:
    world.account.rules[CALLS] = RuleState(ALL_EVENTS, 0, PATTERN)


@fault("trail", "no trail that is switched on", "aws cloudtrail create-subscription")
def trail_gone(world: World) -> None:
    world.account.trail_lists[HOME] = []


@fault("trail", "no trail that is switched on", f"start-logging --name {TRAIL}")
def trail_off(world: World) -> None:
    world.account.trail_lists[AWAY] = [Trail(TRAIL, is_logging=False)]


@fault("trail", "read-only ones included", "put-event-selectors")
def trail_without_reads(world: World) -> None:
    world.account.trail_lists[HOME] = [Trail(TRAIL, reads=False)]


@fault("bus", "no such bus", "REVERT_DRIFT")
def bus_gone(world: World) -> None:
    world.account.buses.clear()


# --- Queues and streams -----------------------------------------------------------------------


@fault("queue", "no such queue", "REVERT_DRIFT")
def queue_gone(world: World) -> None:
    del world.account.queues[QUEUE]


@fault("queue", "no dead-letter queue", "set-queue-attributes")
def queue_without_dead_letters(world: World) -> None:
    world.account.queues[QUEUE] = QueueState(QUEUE_ARN)


@fault("queue", "which is not this stage's", DEAD_ARN)
def queue_with_other_dead_letters(world: World) -> None:
    world.account.queues[QUEUE] = QueueState(QUEUE_ARN, 0, "arn:aws:sqs:eu-west-1:1:other")


@fault("queue-lag", "oldest message is 25 minutes old; about 3 wait", f"/aws/lambda/{NAME}-queue")
def queue_behind(world: World) -> None:
    world.deployment = msgspec.structs.replace(world.deployment, cluster="", service="")
    world.account.metrics["ApproximateAgeOfOldestMessage", f"{NAME}-events"] = 1_500


@fault("queue-lag", "oldest message", "aws ecs update-service")
def queue_behind_its_container(world: World) -> None:
    world.account.metrics["ApproximateAgeOfOldestMessage", f"{NAME}-events"] = 901


@fault(
    "dead-letters",
    "about 12 deliveries were given up",
    f"--source-arn {DEAD_ARN} --destination-arn {QUEUE_ARN}",
)
def dead_letters(world: World) -> None:
    world.account.queues[DEAD] = QueueState(DEAD_ARN, 12)


@fault("dead-letters", "no such queue", "REVERT_DRIFT")
def dead_letters_gone(world: World) -> None:
    del world.account.queues[DEAD]


@fault("stream", "no such stream", "REVERT_DRIFT")
def stream_gone(world: World) -> None:
    world.account.streams.clear()


@fault("stream", "the stream is DELETING", "wait stream-exists")
def stream_going(world: World) -> None:
    world.account.streams[STREAM] = StreamState(STREAM, "DELETING")


@fault("stream-lag", "readers are 16 minutes behind", "aws ecs update-service")
def stream_behind(world: World) -> None:
    world.account.metrics["GetRecords.IteratorAgeMilliseconds", STREAM] = 16 * 60_000


@fault("stream-lag", "nobody reads it: 70 records", "aws ecs update-service")
def stream_unread(world: World) -> None:
    del world.account.metrics["GetRecords.IteratorAgeMilliseconds", STREAM]


# --- Tables -----------------------------------------------------------------------------------


def _table(world: World, kind: str, **changes: Any) -> None:
    name = f"{NAME}-{kind}"
    world.account.tables[name] = msgspec.structs.replace(world.account.tables[name], **changes)


@fault("table", "no such table", "REVERT_DRIFT")
def table_gone(world: World) -> None:
    del world.account.tables[f"{NAME}-entries"]


@fault("table", "the table is DELETING", "wait table-exists")
def table_going(world: World) -> None:
    _table(world, "balances", status="DELETING")


@fault("table", "its keys are r (HASH, S), o (RANGE, S), not r (HASH, B)", "name other tables")
def table_of_texts(world: World) -> None:
    _table(world, "entries", keys=(("r", "HASH", "S"), ("o", "RANGE", "S")))


@fault("table", "the index due is missing", '"IndexName":"due"')
def index_gone(world: World) -> None:
    _table(world, "state", indexes=())


@fault("table", "the index by-leaf has the keys u (HASH, S)", '"Delete"')
def index_of_texts(world: World) -> None:
    [index] = world.account.tables[f"{NAME}-entries"].indexes
    other = msgspec.structs.replace(index, keys=(("u", "HASH", "S"),))
    _table(world, "entries", indexes=(other,))


@fault("table", "the index by-day is CREATING", "describe-table", "warning")
def index_being_made(world: World) -> None:
    [index] = world.account.tables[f"{NAME}-balances"].indexes
    _table(world, "balances", indexes=(msgspec.structs.replace(index, status="CREATING"),))


@fault("table", "it has no stream", '"StreamViewType":"KEYS_ONLY"')
def state_without_stream(world: World) -> None:
    _table(world, "state", stream="")


@fault("table", "time to live is not switched on", "update-time-to-live", "warning")
def state_for_ever(world: World) -> None:
    _table(world, "state", expires="")


@fault("table", "no point-in-time recovery", "update-continuous-backups", "warning")
def no_recovery(world: World) -> None:
    _table(world, "entries", has_recovery=False)


@fault("table", "not protected from deletion", "--deletion-protection-enabled", "warning")
def no_protection(world: World) -> None:
    _table(world, "balances", is_protected=False)


@fault("table", "a key of DynamoDB, not with the stage's key", '"SSEType":"KMS"')
def another_key(world: World) -> None:
    _table(world, "balances", key="")


# --- What runs --------------------------------------------------------------------------------


@fault("function", "no such function", "REVERT_DRIFT")
def function_gone(world: World) -> None:
    del world.account.functions[f"{NAME}-queue"]


@fault("function", "the function is Failed: no image", "get-function-configuration")
def function_failed(world: World) -> None:
    world.account.functions[f"{NAME}-announcer"] = FunctionState("Failed", reason="no image")


@fault("function", "last update failed: no image", "REVERT_DRIFT")
def function_not_updated(world: World) -> None:
    failed = FunctionState(update="Failed", reason="no image")
    world.account.functions[f"{NAME}-announcer"] = failed


@fault("function", f"not called for {QUEUE_ARN}: Disabled", "--uuid 1-2 --enabled")
def mapping_disabled(world: World) -> None:
    mapping = MappingState("1-2", QUEUE_ARN, "Disabled")
    world.account.functions[f"{NAME}-queue"] = FunctionState(mappings=(mapping,))


def _service(world: World, service: ServiceState) -> None:
    world.account.services[NAME, f"{NAME}-worker"] = service


@fault("service", "no such service", "REVERT_DRIFT")
def service_gone(world: World) -> None:
    world.account.services.clear()


@fault("service", "1 of 2 tasks run; ECS says: out of memory", "describe-services")
def tasks_missing(world: World) -> None:
    _service(world, ServiceState(desired=2, running=1, event="out of memory"))


@fault("service", "no task is to run", "--desired-count 1")
def nothing_to_run(world: World) -> None:
    _service(world, ServiceState(desired=0, running=0))


@fault("state-machine", "no such state machine", "REVERT_DRIFT")
def machine_gone(world: World) -> None:
    world.account.machines.clear()


@fault("state-machine", "it is DELETING", "REVERT_DRIFT")
def machine_going(world: World) -> None:
    world.account.machines[MACHINE] = "DELETING"


@fault("permissions", f"may not do sqs:DeleteMessage on {QUEUE_ARN}", "REVERT_DRIFT")
def role_without_rights(world: World) -> None:
    world.account.forbidden = {"sqs:DeleteMessage"}


@fault("dead-letters", "about 2 deliveries were given up", "aws sqs receive-message")
def dead_letters_of_no_queue(world: World) -> None:
    url = f"{DEAD}-of-the-bus"
    world.deployment = msgspec.structs.replace(world.deployment, dead_letters=(DEAD, url))
    world.account.queues[url] = QueueState(f"{DEAD_ARN}-of-the-bus", 2)
