"""Rule sets: list, read, check, compare, add."""

from typing import Any

import yaml

from msc_vision.decision.library import rule_set_of
from msc_vision.decision.rule_file import RuleFileError, yaml_mapping
from msc_vision.decision.rules import RuleSet
from msc_vision.errors import InvalidArgumentError
from msc_vision.service.actions.decisions import in_worker
from msc_vision.service.context import Caller, Service
from msc_vision.service.idempotency import Answer, Once, json_answer, write_once
from msc_vision.service.problems import Fault, ProblemError
from msc_vision.service.rule_library import ADD, Known, differences, remember_rules
from msc_vision.service.store import Transaction
from msc_vision.service.views import rule_set_view

MOST_CHARACTERS = 200_000


async def listed(service: Service, caller: Caller) -> list[dict[str, Any]]:
    """Return every rule set."""
    service.require(caller, "read", "list rule sets")
    return [rule_set_view(one) for one in await in_worker(service, service.rules.all)]


async def get(service: Service, caller: Caller, name: str) -> dict[str, Any]:
    """Return a rule set in full.

    Raises
    ------
    ProblemError
        ``not-found``.
    """
    service.require(caller, "read", "read rule set")
    rules = (await in_worker(service, lambda: service.rules.find(name))).rules
    return {"sha256": rules.sha256, "content": rules.model_dump(mode="json")}


async def check(service: Service, caller: Caller, text: str) -> dict[str, Any]:
    """Return what is wrong with a rule set, without keeping it."""
    service.require(caller, "read", "check rule set")
    try:
        rules = await in_worker(service, lambda: parsed(service, text))
    except RuleFileError as err:
        return {"is_valid": False, "sha256": None, "complaints": list(err.complaints)}
    except InvalidArgumentError as err:
        return {"is_valid": False, "sha256": None, "complaints": [str(err)]}
    return {"is_valid": True, "sha256": rules.sha256, "complaints": []}


async def diff(service: Service, caller: Caller, old: str, new: str) -> dict[str, Any]:
    """Return what differs between two rule sets."""
    service.require(caller, "read", "compare rule sets")
    first, second = await in_worker(service, lambda: (service.rules.find(old), service.rules.find(new)))
    found = differences(first.rules.model_dump(mode="json"), second.rules.model_dump(mode="json"))
    return {"old": first.name, "new": second.name, "differences": found}


async def add(service: Service, caller: Caller, text: str, once: Once | None = None) -> Answer:
    """Add a rule set; one that is there already is answered as it is.

    Raises
    ------
    ForbiddenError
        Without the scope ``rules``.
    ProblemError
        ``not-valid``, with every complaint; ``conflict``: the version is there with other content.
    """
    service.require(caller, "rules", ADD)
    try:
        rules = await in_worker(service, lambda: parsed(service, text))
    except RuleFileError as err:
        faults = tuple(Fault(one, "#") for one in err.complaints)
        raise ProblemError("not-valid", f"The rule set has {len(faults)} faults: {err}"[:2000], faults) from err

    def command(tx: Transaction) -> Answer:
        is_new = remember_rules(tx, rules, who=caller.who, what=ADD)
        view = rule_set_view(Known(rules, "store"))
        return json_answer(201 if is_new else 200, view, Location=f"/v1/rule-sets/{rules.id}@{rules.version}")

    answer = await write_once(service, caller, once, command)
    service.rules.forget()
    return answer


def parsed(service: Service, text: str) -> RuleSet:
    """Return the rule set in a YAML text.

    Raises
    ------
    RuleFileError, InvalidArgumentError
        If it cannot be used.
    """
    if len(text) > MOST_CHARACTERS:
        raise RuleFileError((f"The text has {len(text)} characters; rule sets have at most {MOST_CHARACTERS}.",))
    try:
        aliases = [one for one in yaml.scan(text) if isinstance(one, yaml.AliasToken)]
    except (yaml.YAMLError, RecursionError, ValueError) as err:
        raise RuleFileError((f"The text is no YAML: {' '.join(str(err).split())[:300]}.",)) from err
    if aliases:  # a few lines of them can unfold to gigabytes
        raise RuleFileError((f"Aliases (*{aliases[0].value}) are not taken; write the values out.",))
    try:
        return rule_set_of(yaml_mapping(text, "rule set"), service.rules.folders)
    except RecursionError as err:
        raise RuleFileError(("The text is nested too deeply.",)) from err
