"""Reading an account: functions, the container's service, state machines."""

from __future__ import annotations

from typing import Final

from worker.adapters.account_reads import AccountReads
from worker.ports.account import FunctionState, MappingState, ServiceState

_MISSING: Final = ("ResourceNotFoundException",)


class ComputeReads(AccountReads):
    """The part of `worker.ports.account.Account` on what runs."""

    async def function(self, name: str) -> FunctionState | None:
        """Return a function with its event source mappings."""
        found = await self.ask(
            "lambda",
            "get_function_configuration",
            subject=f"function {name}",
            action="lambda:GetFunctionConfiguration",
            missing=_MISSING,
            FunctionName=name,
        )
        if found is None:
            return None
        mappings = await self.ask(
            "lambda",
            "list_event_source_mappings",
            subject=f"function {name}",
            action="lambda:ListEventSourceMappings",
            missing=_MISSING,
            FunctionName=name,
        )
        return FunctionState(
            state=found.get("State", "Active"),
            update=found.get("LastUpdateStatus", "Successful"),
            reason=found.get("StateReason") or found.get("LastUpdateStatusReason") or "",
            mappings=tuple(
                MappingState(
                    id=one["UUID"],
                    source=one.get("EventSourceArn", ""),
                    state=one.get("State", ""),
                    result=one.get("LastProcessingResult", ""),
                )
                for one in (mappings or {}).get("EventSourceMappings", ())
            ),
        )

    async def service(self, cluster: str, name: str) -> ServiceState | None:
        """Return a service of ECS."""
        found = await self.ask(
            "ecs",
            "describe_services",
            subject=f"service {name}",
            action="ecs:DescribeServices",
            missing=("ClusterNotFoundException", "ServiceNotFoundException"),
            cluster=cluster,
            services=[name],
        )
        services = (found or {}).get("services", ())
        if not services or services[0].get("status") == "INACTIVE":
            return None
        service = services[0]
        definition = await self.ask(
            "ecs",
            "describe_task_definition",
            subject=f"service {name}",
            action="ecs:DescribeTaskDefinition",
            taskDefinition=service["taskDefinition"],
        )
        events = service.get("events") or [{}]
        return ServiceState(
            status=service["status"],
            desired=service.get("desiredCount", 0),
            running=service.get("runningCount", 0),
            event=events[0].get("message", ""),
            role=(definition or {}).get("taskDefinition", {}).get("taskRoleArn", ""),
        )

    async def state_machine(self, arn: str) -> str | None:
        """Return the status of a state machine."""
        found = await self.ask(
            "stepfunctions",
            "describe_state_machine",
            subject=arn,
            action="states:DescribeStateMachine",
            missing=("StateMachineDoesNotExist",),
            stateMachineArn=arn,
        )
        return None if found is None else str(found.get("status") or "ACTIVE")
